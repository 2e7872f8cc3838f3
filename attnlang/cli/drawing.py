"""Plan -> picture: which pairs attend, and in which tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.heads import heads_text
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.dense import mask
from attnlang.compiler.report.relation import relations
from attnlang.picture import Cell, Panel, Picture
from attnlang.picture.panel import Cells, Ticks
from attnlang.picture.ticks import numbered


def elements(plan: Plan, heads: Sequence[int], title: str, subtitle: str) -> Picture:
    """Every pair of tokens: does it attend, and what is its tile? A panel for each group of heads
    that attend alike; all groups when no head is named."""
    return Picture(title, subtitle, tuple(_panels(plan, heads, by_tile=False)))


def tiles(plan: Plan, heads: Sequence[int], title: str, subtitle: str) -> Picture:
    """The same of every pair of tiles: empty, partial or full."""
    return Picture(title, subtitle, tuple(_panels(plan, heads, by_tile=True)))


def _panels(plan: Plan, heads: Sequence[int], *, by_tile: bool) -> Iterator[Panel]:
    for one in plan.branches or (plan,):
        pairs = [one.pairs_text] if plan.branches else []
        for group in _groups(one, heads):
            title = ", ".join(x for x in (*pairs, _label(one, group, heads)) if x)
            yield panel(one, group, title, by_tile=by_tile)


def panel(plan: Plan, group: HeadPlan, title: str, *, by_tile: bool) -> Panel:
    """Every pair of tiles: empty, partial or full. Or every pair of tokens: does it attend, and
    what is its tile?"""
    if by_tile:
        q, k = group.layout.q, group.layout.k
        return Panel(title, group.table.dense(), _tile_ticks(q), _tile_ticks(k))
    return Panel(
        title,
        _element_cells(plan, group),
        token_ticks(plan.problem.q),
        token_ticks(plan.problem.k),
        _grid(plan, group),
    )


def _groups(plan: Plan, heads: Sequence[int]) -> list[HeadPlan]:
    """Groups that hold some of these heads (all groups when none is named)."""
    return [g for g in plan.heads if not heads or set(heads) & set(g.heads)]


def _label(plan: Plan, group: HeadPlan, heads: Sequence[int]) -> str:
    if len(plan.heads) == 1:
        return ""
    return heads_text([h for h in group.heads if not heads or h in heads])


def _element_cells(plan: Plan, group: HeadPlan) -> Cells:
    kinds = group.table.dense()[
        _tile_of_token(group.layout.q, plan.problem.q_len)[:, None],
        _tile_of_token(group.layout.k, plan.problem.k_len)[None, :],
    ]
    relation = next(r for r in relations(plan.problem, plan.known) if r.heads == group.heads)
    attends = mask(relation)
    return np.select(
        [kinds == 0, ~attends, kinds == 2],
        [Cell.EMPTY, Cell.SKIPPED, Cell.ALLOWED_FULL],
        default=Cell.ALLOWED,
    ).astype(np.uint8)


def _tile_of_token(side: SideTiling, tokens: int) -> NDArray[np.int64]:
    """The tile that each place of the sequence is in ``[tokens]``."""
    found = np.zeros(tokens, dtype=np.int64)
    for tile, places in enumerate(side.tokens):
        found[places[places >= 0]] = tile
    return found


def token_ticks(side: Sequence[Extent]) -> Ticks:
    """Numbers along a sequence; the first axis' index where a row of a grid begins."""
    ticks: list[tuple[int, str]] = []
    for extent in side:
        if not extent.size:
            continue
        if not extent.segment.is_grid:
            ticks.append((extent.start, extent.segment.name))
        elif len(extent.axes) == 1:
            first = extent.origin[0]
            ticks += [(extent.start + at, str(first + at)) for at, _ in numbered(extent.size)]
        else:
            inner = math.prod(extent.lengths[1:])
            rows = numbered(extent.lengths[0])
            ticks += [(extent.start + at * inner, f"{extent.axes[0]} {at}") for at, _ in rows]
    return tuple(ticks)


def _tile_ticks(side: SideTiling) -> Ticks:
    """The first token of a tile where tiles are runs of one sequence, else the tile's number."""
    plain = numbered(side.tiles)
    if not side.row_major:
        return plain
    return tuple((at, str(int(side.tokens[at, 0]))) for at, _ in plain)


def _grid(plan: Plan, group: HeadPlan) -> tuple[int, int] | None:
    """Tile borders of a sequence, or the rows of a grid."""
    steps = []
    layout, problem = group.layout, plan.problem
    for side, tiling in ((problem.q, layout.q), (problem.k, layout.k)):
        if len(side) != 1:
            return None
        if len(side[0].axes) > 1:
            steps.append(math.prod(side[0].lengths[1:]))
        elif tiling.row_major:
            steps.append(tiling.capacity)
        else:
            return None
    return steps[0], steps[1]
