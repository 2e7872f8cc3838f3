"""Problem -> boxes, where every pair of segments allows it.

Between the grids boxes are searched for. Other pairs of segments, such as class tokens and what
they see, must attend entirely or not at all.
"""

from __future__ import annotations

from typing import TypeAlias

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.aligned import DEFAULT_TILE
from attnlang.compiler.layout.choose import Boxes, box_search, cut_keys, describe
from attnlang.compiler.layout.cost import Machine
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.layout.tiling import ExtentTiling, SideTiling, contiguous
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything, Part
from attnlang.compiler.problem.problem import Extent, Problem, grid_of
from attnlang.compiler.sema.segments import specialise

Classes: TypeAlias = tuple[tuple[Expr, tuple[int, ...]], ...]
"""Predicates, and the heads each holds for."""


def box_plan(
    problem: Problem, classes: Classes, known: Known, machine: Machine
) -> tuple[Layout, tuple[BoxTable, ...]] | None:
    """A layout and the boxes of every class of heads; None when some keys are no few boxes."""
    q, k = grid_of(problem.q), grid_of(problem.k)
    plain = len(problem.q) == len(problem.k) == 1
    if not plain and not all(_settled(where, problem) for where, _ in classes):
        return None
    wheres = [(specialise(where, q.segment, k.segment), len(heads)) for where, heads in classes]
    boxes = box_search(wheres, q, k, known, machine)
    if boxes is None:
        return None
    keys = tuple(cut_keys(boxes, i, n) for i, n in enumerate(k.lengths))
    tilings = {id(q): boxes.q, id(k): ExtentTiling(k, keys)}
    q_side, k_side = (
        SideTiling(tuple(tilings.get(id(x)) or _run(x) for x in side if x.size))
        for side in (problem.q, problem.k)
    )
    layout = Layout(q_side, k_side, describe(boxes, k.axes))
    tables = (_table(where, i, boxes, layout, problem) for i, (where, _) in enumerate(classes))
    return layout, tuple(tables)


def _run(extent: Extent) -> ExtentTiling:
    return ExtentTiling(extent, (contiguous(extent.size, DEFAULT_TILE),))


def _settled(where: Expr, problem: Problem) -> bool:
    """Is the predicate true or false everywhere between segments of which one is no grid?"""
    return all(
        specialise(where, q.segment, k.segment) in (e.TRUE, e.FALSE)
        for q in problem.q
        for k in problem.k
        if not (q.segment.is_grid and k.segment.is_grid)
    )


def _table(where: Expr, index: int, boxes: Boxes, layout: Layout, problem: Problem) -> BoxTable:
    parts = []
    for q in layout.q.extents:
        found: list[Box | Everything] = []
        for k in problem.k:
            if q.extent.segment.is_grid and k.segment.is_grid:
                own = boxes.classes[index]
                found += [Box(q, k, reaches, own.k_tile) for reaches in own.boxes]
            elif k.size and specialise(where, q.extent.segment, k.segment) == e.TRUE:
                found.append(Everything(q, k, (min(k.size, DEFAULT_TILE),)))
        parts.append(Part(q, tuple(found)))
    return BoxTable(tuple(parts))
