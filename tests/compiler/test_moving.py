"""Tiles that repeat where a predicate's parts move: every pair, from those that begin a diagonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis import classify, moving
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.layout.aligned import box_layout

FRAMES = "abs(q.n // 6 - k.n // 6) * (1 + (q.n % 6) * (k.n % 6)) <= 4"
CONDITIONS = {
    FRAMES: True,
    f"{FRAMES} or k.n // 6 == 0": True,  # a frame that all see
    f"{FRAMES} and (k.n // 6 > 0 or q.n // 6 < 9)": True,
    "(q.n % 4 + 1) * (k.n % 4) <= 5": True,  # the same in every period
    "abs(min(q.n // 5, 9) - min(k.n // 5, 9)) * (1 + q.n % 5) <= k.n % 5": True,  # a last frame
    "exp2(q.n // 4 - k.n // 4) * (1.0 + float(k.n % 4)) < 2.0": True,
    "q.n * k.n % 7 < 3": False,  # neither moves: a product of the two
    "(q.n + k.n) * (q.n % 3 + 1) < 90": False,
}


def seen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether tiles were found to repeat, call by call; however few there are."""
    found: list[bool] = []
    original: Callable[..., Any] = moving.moving_kinds

    def watched(*given: Any) -> Any:
        kinds = original(*given)
        found.append(kinds is not None)
        return kinds

    for name, value in (("FEW_PAIRS", 0), ("DENSE_AXIS", 1), ("moving_kinds", watched)):
        monkeypatch.setattr(classify, name, value)
    monkeypatch.setattr(moving, "FEWEST", 1)
    return found


def check(condition: str, q_len: int, k_len: int, tiles: tuple[int, int]) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    sizes = {"q.n": q_len, "k.n": k_len}
    plan = pattern.plan(sizes, tile=tiles)
    truth = pattern.mask(sizes)[0].numpy()
    kinds = plan.tile_map()
    q, k = plan.layout.q.tokens, plan.layout.k.tokens
    for i, j in np.ndindex(kinds.shape):
        inside = truth[np.ix_(q[i][q[i] >= 0], k[j][k[j] >= 0])]
        assert kinds[i, j] == (2 if inside.all() else 1 if inside.any() else 0), (i, j)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_moves(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(monkeypatch)
    check(condition, 300, 300, (3, 3))
    assert any(found) == CONDITIONS[condition]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_kinds_are_what_brute_force_says(data: st.DataObject) -> None:
    condition = data.draw(st.sampled_from(sorted(CONDITIONS)))
    lengths = [data.draw(st.integers(1, 150)) for _ in "qk"]
    tiles = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    with pytest.MonkeyPatch.context() as patch:
        seen(patch)
        check(condition, *lengths, tiles)


def test_few_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million pairs of tiles some thousands: two frames each way, and those that differ."""
    asked: list[int] = []
    original = classify.Elements.any_and_all

    def watched(self: Any, root: Any, rows: Any, columns: Any) -> Any:
        asked.append(len(rows))
        return original(self, root, rows, columns)

    monkeypatch.setattr(classify.Elements, "any_and_all", watched)
    text = FRAMES.replace("6", "64")
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {text} or k.n // 64 == 0\n")
    problem = pattern.problem({"n": 1 << 14})
    layout = box_layout(problem, (16,), (16,))
    (q,), (k,) = layout.q.extents, layout.k.extents
    where = problem.groups[0].attend.where
    found = classify.classify(where, q, k, Known())
    assert found.exact
    assert 0 < sum(asked) < 40_000
