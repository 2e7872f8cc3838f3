"""The transposed plan is the plan, seen from the keys."""

from __future__ import annotations

import numpy as np
import pytest

import attnlang
from attnlang.compiler.analysis import classify

CASES = [
    ("over n", "causal(n)", {"n": 83}),
    ("over n", "band(n, 17) or k.n < 3", {"n": 83}),
    ("over n", "near(n, 9, 3)", {"n": 70}),
    ("over n", "block(n, 10, 3) and causal(n)", {"n": 64}),
    ("over n", "(q.n - k.n) % 5 == 0 or abs(q.n - k.n) < 4", {"n": 61}),
    ("over y, x", "near(y, 3) and near(x, 5, 2)", {"y": 9, "x": 14}),
    ("over y, x", "q.y + q.x >= k.y + k.x", {"y": 9, "x": 7}),
    ("over n\n    prefix cls: 3", "q in cls or k in cls or band(n, 9)", {"n": 50}),
]


@pytest.mark.parametrize("enumerated", [8, 2048])
@pytest.mark.parametrize(("axes", "condition", "sizes"), CASES)
def test_transposed_equals_plan(
    axes: str,
    condition: str,
    sizes: dict[str, int],
    enumerated: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classify, "DENSE_AXIS", enumerated)
    pattern = attnlang.parse(f"pattern p:\n    {axes}\n    attend where {condition}\n")
    tile = (8,) if len(sizes) == 1 else ((2, 4), (4, 2))
    plan = pattern.plan(sizes, tile=tile[0] if len(sizes) == 1 else tile)
    for group in plan.heads:
        np.testing.assert_array_equal(group.columns.dense(), group.table.dense().T)
        np.testing.assert_array_equal(group.table.transposed().dense(), group.columns.dense())


def test_transposed_with_documents() -> None:
    doc = np.sort(np.random.default_rng(1).integers(0, 9, 300))
    pattern = attnlang.load("stdlib:lca_causal_document")
    (group,) = pattern.plan({"n": 300}, tile=16, doc=doc[None]).heads
    np.testing.assert_array_equal(group.columns.dense(), group.table.dense().T)


def test_transposed_of_a_million_tokens_is_compact() -> None:
    plan = attnlang.load("stdlib:sliding_window", window=1024).plan({"n": 1 << 20}, tile=128)
    (group,) = plan.heads
    assert group.columns.tiles() == group.table.tiles()
    assert group.columns.nbytes < 1 << 20
