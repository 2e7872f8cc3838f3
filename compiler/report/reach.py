"""How many layers until everything that can ever reach a token has reached it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.problem import Extent, Problem, grid_of
from attnlang.compiler.report.dense import mask
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.rows import Rows

NODES = 512
"""Tokens, or boxes of tokens, of the graph that is walked."""

MOST_TILES = 1 << 13
"""Tiles of a side whose pairs may be written out."""

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reach:
    """layers: after so many, stacking more connects nothing new. islands: sets of tokens that
    never meet, however many layers.

    tile: None when exact. Otherwise the extents of the boxes of tokens that were walked in place
    of single tokens: then there may be more layers, and more islands.
    """

    layers: int
    islands: int
    tile: tuple[int, ...] | None


def reach(plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]) -> Reach | None:
    """The reach of self-attention; None for cross-attention, and where tensors are not known.

    Information also stays where it is: residual connections are counted in.
    """
    first = relations[0]
    if not first.q_len or [_places(x) for x in first.q] != [_places(x) for x in first.k]:
        return None
    if not all(x.evaluable for x in relations):
        return None
    if first.q_len <= NODES:
        return _walk(np.logical_or.reduce([mask(x) for x in relations]), None)
    only = rows[0]
    if len(relations) == 1 and only is not None and _runs(only):
        layers = max(_hops(only.first), _hops(only.last))
        return Reach(layers, _islands_of_runs(only), None)
    pooled = _pooled(plan)
    if pooled is not None:
        return pooled
    coarse = _coarse_plan(plan, solved=None not in rows)
    if coarse is None:
        return None
    live = np.logical_or.reduce([g.table.dense() > 0 for g in coarse.heads])
    return _walk(live, _extents(coarse.layout.q))


def _pooled(plan: Plan) -> Reach | None:
    """The plan's own tiles, as many consecutive ones together as it takes, where they are alike on
    both sides and few enough to be written out."""
    if len(plan.parts) > 1:
        return None
    side = plan.layout.q
    boxed = any(group.boxes is not None for group in plan.heads)
    runs = all(len(x.axes) == 1 and x.row_major for x in side.extents)
    if boxed or not runs or not NODES < side.tiles <= MOST_TILES or not _square(plan):
        return None
    live = np.logical_or.reduce([g.table.dense() > 0 for g in plan.heads])
    many = -(-side.tiles // NODES)
    cuts = np.arange(0, side.tiles, many)
    live = np.logical_or.reduceat(np.logical_or.reduceat(live, cuts, 0), cuts, 1)
    return _walk(live, (side.capacity * many,))


def _coarse_plan(plan: Plan, *, solved: bool) -> Plan | None:
    """A plan of few tiles, the same on both sides: the one there is, or one of large boxes.

    Large boxes are planned only for patterns that are ``solved``: others would take too long.
    """
    if len(plan.parts) == 1 and plan.layout.q.tiles <= NODES and _square(plan):
        return plan
    if not solved:
        return None
    tile = _coarse(plan.problem)
    made = make(plan.problem, box_layout(plan.problem, tile, tile), plan.known)
    return made if made.layout.q.tiles <= 2 * NODES else None


def _square(plan: Plan) -> bool:
    """Are queries and keys in the same tiles?"""
    q, k = plan.layout.q, plan.layout.k
    return q.tiles == k.tiles and np.array_equal(q.tokens, k.tokens)


def _extents(side: SideTiling) -> tuple[int, ...]:
    grid = next(x for x in side.extents if x.extent.segment.is_grid)
    return tuple(a.size for a in grid.axes)


def _places(x: Extent) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    return x.segment.name, x.axes, x.lengths


def _coarse(problem: Problem) -> tuple[int, ...]:
    """Extents of boxes of which the grid has about :data:`NODES`."""
    grid = grid_of(problem.q)
    extents = [1] * len(grid.lengths)
    while _boxes(grid.lengths, extents) > NODES:
        # Halve the axis that still has most strips.
        axis = max(range(len(extents)), key=lambda i: grid.lengths[i] / extents[i])
        extents[axis] *= 2
    return tuple(extents)


def _boxes(lengths: Sequence[int], extents: Sequence[int]) -> int:
    return math.prod(-(-n // e) for n, e in zip(lengths, extents, strict=True))


def _runs(rows: Rows) -> bool:
    """Are every query's keys one run around it, with ends that never move back?"""
    places = np.arange(len(rows.keys))
    return bool(
        rows.exact
        and (rows.keys == rows.last - rows.first + 1).all()
        and (rows.first <= places).all()
        and (rows.last >= places).all()
        and (np.diff(rows.first) >= 0).all()
        and (np.diff(rows.last) >= 0).all()
    )


def _hops(ends: IntArray) -> int:
    """Layers until the ends of all runs on one side stand still, by the same doubling as
    :func:`_walk`."""
    powers = [ends]
    while not np.array_equal(twice := powers[-1][powers[-1]], powers[-1]):
        powers.append(twice)
    closure = powers.pop()
    layers, at = 0, np.arange(len(ends), dtype=np.int64)
    for step in reversed(range(len(powers))):
        following = powers[step][at]
        if not np.array_equal(following, closure):
            layers, at = layers + (1 << step), following
    return layers + 1


def _islands_of_runs(rows: Rows) -> int:
    """Stretches of the sequence whose borders no run crosses."""
    change = np.zeros(len(rows.keys) + 1, dtype=np.int64)
    change += np.bincount(rows.first, minlength=len(change))
    change -= np.bincount(rows.last, minlength=len(change))
    crossed = np.cumsum(change)[: len(rows.keys) - 1]
    return 1 + int((crossed == 0).sum())


def _walk(edges: BoolArray, tile: tuple[int, ...] | None) -> Reach:
    """The relation with itself again and again, up to the power that adds nothing."""
    powers = _powers(edges)
    closure = powers.pop()
    # The least number of layers that gives the closure, from the highest bit down.
    layers, at = 0, np.eye(len(edges), dtype=bool)
    for step in reversed(range(len(powers))):
        following = _compose(at, powers[step])
        if not (following == closure).all():
            layers, at = layers + (1 << step), following
    return Reach(layers + 1, _islands(edges), tile)


def _powers(edges: BoolArray) -> list[BoolArray]:
    """The reflexive relation to the powers 1, 2, 4, ... up to the first that is closed."""
    powers = [edges | np.eye(len(edges), dtype=bool)]
    while True:
        twice = _compose(powers[-1], powers[-1])
        if (twice == powers[-1]).all():
            return powers
        powers.append(twice)


def _islands(edges: BoolArray) -> int:
    """Connected components, whatever the direction: all tokens of one take its least place."""
    places = np.arange(len(edges))
    either_way = edges | edges.T | np.eye(len(edges), dtype=bool)
    least = places
    while True:
        lower = np.where(either_way, least, len(edges)).min(axis=1)
        lower = lower[lower]
        if (lower == least).all():
            return int((least == places).sum())
        least = lower


def _compose(a: BoolArray, b: BoolArray) -> BoolArray:
    return np.asarray(a.astype(np.float32) @ b.astype(np.float32) > 0)
