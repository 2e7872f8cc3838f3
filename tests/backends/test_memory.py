"""Long sequences: memory grows with the length, not with its square."""

from __future__ import annotations

import pytest

from attnlang.bench.memory import in_process


@pytest.mark.long
def test_a_window_over_a_quarter_of_a_million_tokens() -> None:
    half, whole = (in_process(n, 256, 16) for n in (131_072, 262_144))
    for found in (half, whole):
        assert found["error"] < 1e-5
    assert whole["peak_bytes"] < 8 * whole["tensor_bytes"]
    assert whole["peak_bytes"] < 2.6 * half["peak_bytes"]
    assert whole["dense_mask_bytes"] > 200 * whole["peak_bytes"]
