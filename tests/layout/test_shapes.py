"""Tiles of predicates that are no boxes take the shape that visits least."""

from __future__ import annotations

import pytest

import attnlang
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.plan.make import make

BANDS = """pattern bands:
    over t, s
    attend where abs(q.s - k.s) * (1 + abs(q.t - k.t)) < len(s)
"""
OBLIQUE = """pattern oblique:
    over y, x
    attend where abs(q.y - k.y) + abs(q.x - k.x) <= 6
"""


@pytest.mark.parametrize(
    ("text", "sizes"), [(BANDS, {"t": 12, "s": 256}), (OBLIQUE, {"y": 40, "x": 40})]
)
def test_no_shape_of_as_many_slots_visits_much_less(text: str, sizes: dict[str, int]) -> None:
    problem = attnlang.parse(text).problem(sizes, 2)
    plan = make(problem)
    assert all(group.boxes is None for group in plan.heads)
    shapes = [(1 << i, 64 >> i) for i in range(7)]
    every = [make(problem, box_layout(problem, s, s)).visited for s in shapes]
    assert plan.visited <= 1.2 * min(every)


def test_narrow_bands_are_cut_along_their_length() -> None:
    plan = attnlang.parse(BANDS).plan({"t": 12, "s": 256}, 2)
    (grid,) = plan.layout.q.extents
    assert grid.axes[0].size < grid.axes[1].size
    assert plan.pairs == 2 * attnlang.parse(BANDS).mask({"t": 12, "s": 256}, 2)[0].sum()


def test_cubes_are_kept_where_no_shape_is_better() -> None:
    plan = attnlang.parse(OBLIQUE).plan({"y": 40, "x": 40})
    assert [a.size for a in plan.layout.q.extents[0].axes] == [8, 8]
