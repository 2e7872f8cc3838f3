"""Choosing a layout."""

from __future__ import annotations

import math
from typing import TypeAlias

from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.layout.tiling import ExtentTiling, SideTiling, contiguous
from attnlang.compiler.problem.problem import Extent, Problem

TileShape: TypeAlias = tuple[int, ...]
DEFAULT_TILE = 64


def box_layout(problem: Problem, q_tile: TileShape, k_tile: TileShape) -> Layout:
    """Box tiles of the given extents on the grids; prefixes and suffixes in runs."""
    return Layout(_side(problem.q, q_tile), _side(problem.k, k_tile))


def default_layout(problem: Problem) -> Layout:
    """Box tiles of about :data:`DEFAULT_TILE` tokens, as cubic as the axes allow."""
    return box_layout(problem, _cubic(problem.q), _cubic(problem.k))


def _side(extents: tuple[Extent, ...], tile: TileShape) -> SideTiling:
    made = []
    for extent in extents:
        if extent.segment.is_grid:
            made.append(ExtentTiling(extent, tuple(map(contiguous, extent.lengths, tile))))
        elif extent.size:
            made.append(ExtentTiling(extent, (contiguous(extent.size, math.prod(tile)),)))
    return SideTiling(tuple(made))


def _cubic(extents: tuple[Extent, ...]) -> TileShape:
    grid = next(x for x in extents if x.segment.is_grid)
    tile = [1] * len(grid.lengths)
    while math.prod(tile) < DEFAULT_TILE:
        open_axes = [i for i, n in enumerate(grid.lengths) if tile[i] < n]
        if not open_axes:
            break
        smallest = min(open_axes, key=lambda i: (tile[i], -i))
        tile[smallest] *= 2
    return tuple(tile)
