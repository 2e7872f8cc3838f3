"""Tiles that suit a picture, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attnlang.cli.failures import UsageError
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.problem import Extent, Problem, grid_of

Tile: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Extents of the query and the key tiles."""

MOST = 1024
"""Tiles a side, beyond which larger tiles are drawn."""

MOST_DRAWN = 4096
"""Cells a side, beyond which nothing is drawn."""

_TOKENS = 64

_SMALL = {1: 8, 2: 4, 3: 2}
"""Extents of tiles in small pictures, by number of axes."""


def small_tile(ir: PatternIR, sizes: Mapping[str, int]) -> Tile:
    """Tiles of which a picture of single pairs has several: about eight a sequence."""
    return _small(ir.q_axes, "q", sizes), _small(ir.k_axes, "k", sizes)


def _small(axes: Sequence[str], side: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    lengths = [sizes.get(f"{side}.{a}", sizes.get(a, 1)) for a in axes]
    extent = _SMALL[len(axes)]
    while len(axes) == 1 and lengths[0] > 16 * extent:
        extent *= 2
    return tuple(min(extent, n) for n in lengths)


def usual_tile(problem: Problem) -> Tile:
    """Boxes of about 64 tokens, larger where there would be too many to draw."""
    q, k = (_usual(side) for side in (problem.q, problem.k))
    return q, k


def _usual(side: Sequence[Extent]) -> tuple[int, ...]:
    lengths = grid_of(side).lengths
    extents = [1] * len(lengths)
    while math.prod(extents) < _TOKENS or _boxes(lengths, extents) > MOST:
        open_axes = [i for i, n in enumerate(lengths) if extents[i] < n]
        if not open_axes:
            break
        extents[min(open_axes, key=lambda i: (extents[i], -i))] *= 2
    return tuple(extents)


def _boxes(lengths: Sequence[int], extents: Sequence[int]) -> int:
    return math.prod(-(-n // e) for n, e in zip(lengths, extents, strict=True))


def check_tile(tile: Tile, ir: PatternIR) -> None:
    """Raises UsageError unless each side has an extent for each of its axes."""
    for extents, axes in zip(tile, (ir.q_axes, ir.k_axes), strict=True):
        if len(extents) != len(axes):
            shown = ",".join(map(str, extents))
            raise UsageError(
                f"the tile `{shown}` needs one extent for each axis: {', '.join(axes)}"
            )


def check_count(plan: Plan) -> None:
    """Raises UsageError for a plan of too many tiles to draw."""
    most = max(x for g in plan.followed for x in (g.layout.q.tiles, g.layout.k.tiles))
    if most > MOST_DRAWN:
        raise UsageError(f"{most} tiles a side are too many to draw", "choose larger ones: --tile")


def tile_text(plan: Plan) -> str:
    """``8``, ``4×4``, or ``16 by 8`` where the sides differ; of every layout that heads have."""
    every = [part for one in plan.branches or (plan,) for part in one.parts]
    sides = [(_extents(p.layout.q), _extents(p.layout.k)) for p in every]
    return " and ".join(dict.fromkeys(q if q == k else f"{q} by {k}" for q, k in sides))


def _extents(side: SideTiling) -> str:
    grid = next(x for x in side.extents if x.extent.segment.is_grid)
    return "×".join(str(a.size) for a in grid.axes)
