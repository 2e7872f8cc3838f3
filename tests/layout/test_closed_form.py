"""Intervals solved inside classes against brute force: the same boxes as by enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import attnlang
from attnlang.compiler.layout import choose
from tests.layout.test_boxes import check_boxes, problems


@settings(max_examples=80, deadline=None)
@given(problems())
def test_solved_boxes_equal_brute_force(problem: tuple[str, dict[str, int]]) -> None:
    text, sizes = problem
    pattern = attnlang.parse(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "ENUMERATED", 0)
        plan = pattern.plan(sizes)
    if plan.heads[0].boxes is not None:
        check_boxes(plan, pattern.mask(sizes)[0].numpy())


@pytest.mark.parametrize(
    "condition",
    [
        "near(n, 5, 1, 7)",
        "near(n, 5, 3, 7)",
        "near(n, 5, 1, 7, true)",
        "near(n, 5, 1, 7, false, truncate)",
        "block(n, 9)",
        "q.n % 6 == k.n % 6",
        "(q.n - k.n) % 6 == 0 and abs(q.n - k.n) < 40",
        "q.n % 6 == k.n % 6 and q.n // 12 == k.n // 12",
        "q.n % 6 == k.n % 6 and k.n % 3 == 1",
        "q.n % 6 == k.n % 6 and (2 * k.n + 1) // 4 <= q.n // 3",
    ],
)
@pytest.mark.parametrize("length", [50, 61, 64])
def test_folded_factors_are_solved(
    condition: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "ENUMERATED", 0)
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    plan = pattern.plan({"n": length})
    assert plan.heads[0].boxes is not None
    check_boxes(plan, pattern.mask({"n": length})[0].numpy())


def test_gaps_inside_a_class_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "ENUMERATED", 0)
    text = "pattern p:\n    over n\n    attend where q.n % 4 == k.n % 4 and k.n == (q.n * 9) % 64\n"
    pattern = attnlang.parse(text)
    plan = pattern.plan({"n": 64})
    assert plan.pairs == pattern.mask({"n": 64}).sum()


@pytest.mark.parametrize("causal", [False, True])
def test_large_dilation_is_exact_at_a_million(causal: bool) -> None:
    length, dilation, window = 1 << 20, 4096, 31
    pattern = attnlang.load(
        "stdlib:neighborhood_1d", window=window, dilation=dilation, causal=causal
    )
    plan = pattern.plan({"n": length})
    assert plan.exact
    boxes = plan.heads[0].boxes
    assert boxes is not None
    assert boxes.single is not None
    # Every class has 256 members: a shifted window of 31, or the members up to the query's own.
    own = np.arange(length) // dilation
    counts = np.minimum(own + 1, window) if causal else np.full(length, window)
    assert plan.pairs == counts.sum()
    reach, strips = boxes.single.reaches[0], boxes.single.q.axes[0]
    for strip in (0, 1, strips.strips // 2, strips.strips - 1):
        members = (strips.starts[strip] + np.arange(strips.counts[strip]) * dilation) // dilation
        low = members - window + 1 if causal else np.clip(members - 15, 0, 256 - window)
        high = members + 1 if causal else low + window
        first = max(int(low.min()), 0)
        assert reach.starts[strip] == strips.starts[strip] % dilation + first * dilation
        assert reach.counts[strip] == high.max() - first
    assert plan.waste < 3.2
