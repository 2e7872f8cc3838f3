"""Grids along whose axes a predicate moves: every pair of tiles, from those at the ends of an axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis import diagonals
from attnlang.compiler.analysis.diagonals import moving_axis
from attnlang.compiler.layout.aligned import box_layout

CONDITIONS = {
    "abs(q.y - k.y) + abs(q.x - k.x) <= 3": 0,
    "(q.y - k.y) * (q.x - k.x) <= 2": 0,
    "(q.y - k.y + 2 * q.x - 2 * k.x) % 5 < 2": 0,
    "abs(q.y - k.y) * (abs(q.x - k.x) + 1) <= 4 or k.y == 0": 1,
    "abs(q.y - k.y) <= k.x and 2 * q.y + q.x >= k.y": None,
}


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_kinds_are_what_brute_force_says(data: st.DataObject) -> None:
    condition = data.draw(st.sampled_from(sorted(CONDITIONS)))
    sizes = {a: data.draw(st.integers(1, 13)) for a in "yx"}
    q_tile, k_tile = (tuple(data.draw(st.integers(1, 4)) for _ in sizes) for _ in range(2))
    if data.draw(st.booleans()):
        k_tile = q_tile
    pattern = attnlang.parse(f"pattern p:\n    over y, x\n    attend where {condition}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagonals, "FEWEST", 3)
        plan = pattern.plan(sizes, tile=(q_tile, k_tile))
    truth = pattern.mask(sizes)[0].numpy()
    found = plan.tile_map()
    q, k = plan.layout.q.tokens, plan.layout.k.tokens
    for i, j in np.ndindex(found.shape):
        inside = truth[np.ix_(q[i][q[i] >= 0], k[j][k[j] >= 0])]
        assert found[i, j] == (2 if inside.all() else 1 if inside.any() else 0)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_which_axis_moves(condition: str) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over y, x\n    attend where {condition}\n")
    problem = pattern.problem({"y": 30, "x": 30})
    layout = box_layout(problem, (2, 3), (2, 3))
    (q,), (k,) = layout.q.extents, layout.k.extents
    assert moving_axis(problem.groups[0].attend.where, q, k) == CONDITIONS[condition]
