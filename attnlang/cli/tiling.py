"""Tiles that suit a picture, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attnlang.cli.failures import UsageError
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.plan import Plan

Tile: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Extents of the query and the key tiles."""

MOST = 2048
"""Tiles a side, beyond which larger tiles are drawn."""

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


def check_tile(tile: Tile, ir: PatternIR) -> None:
    """Raises UsageError unless each side has an extent for each of its axes."""
    for extents, axes in zip(tile, (ir.q_axes, ir.k_axes), strict=True):
        if len(extents) != len(axes):
            shown = ",".join(map(str, extents))
            raise UsageError(
                f"the tile `{shown}` needs one extent for each axis: {', '.join(axes)}"
            )


def coarser(plan: Plan) -> Tile | None:
    """Box tiles that can be drawn; None when the plan's own can."""
    if max(plan.layout.q.tiles, plan.layout.k.tiles) <= MOST:
        return None
    made = []
    for side in (plan.problem.q, plan.problem.k):
        lengths = next(x for x in side if x.segment.is_grid).lengths
        extents = [1] * len(lengths)
        while math.prod(-(-n // e) for n, e in zip(lengths, extents, strict=True)) > MOST // 4:
            axis = max(range(len(extents)), key=lambda i: lengths[i] / extents[i])
            extents[axis] *= 2
        made.append(tuple(extents))
    return made[0], made[1]


def tile_text(plan: Plan) -> str:
    """``8``, ``4×4``, or ``16 by 8`` where the sides differ."""
    q, k = _extents(plan.layout.q), _extents(plan.layout.k)
    return q if q == k else f"{q} by {k}"


def _extents(side: SideTiling) -> str:
    grid = next(x for x in side.extents if x.extent.segment.is_grid)
    return "×".join(str(a.size) for a in grid.axes)
