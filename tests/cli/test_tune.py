"""``attnlang tune`` where there is nothing to measure on."""

from __future__ import annotations

import pytest
import torch

from tests.cli.conftest import Run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(run: Run) -> None:
    done = run("tune", "stdlib:causal", "--size", "n=64")
    assert done.code == 2
    assert "there is no GPU here" in done.err
    assert "attnlang compile --target" in done.err
