"""Layouts of box tiles of given extents, or of usual ones: where nothing is folded."""

from __future__ import annotations

import math
from typing import TypeAlias

from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.layout.tiling import ExtentTiling, SideTiling, contiguous, cubic
from attnlang.compiler.problem.problem import Extent, Problem, grid_of

TileShape: TypeAlias = tuple[int, ...]
DEFAULT_TILE = 64
MOST_PAIRS = 1 << 26
"""Tile pairs of which a table is made in full, for grids that are no boxes."""


def box_layout(problem: Problem, q_tile: TileShape, k_tile: TileShape) -> Layout:
    """Box tiles of the given extents on the grids; prefixes and suffixes in runs."""
    return Layout(_side(problem.q, q_tile), _side(problem.k, k_tile))


def default_layout(problem: Problem) -> Layout:
    """Box tiles of about :data:`DEFAULT_TILE` tokens, as cubic as the axes allow.

    Grids of several axes whose tile pairs would be too many to hold get larger tiles.
    """
    tile = DEFAULT_TILE
    layout = box_layout(problem, cubic(_grid(problem.q), tile), cubic(_grid(problem.k), tile))
    flat = len(problem.pattern.q_axes) == len(problem.pattern.k_axes) == 1
    while not flat and layout.q.tiles * layout.k.tiles > MOST_PAIRS:
        tile *= 2
        layout = box_layout(problem, cubic(_grid(problem.q), tile), cubic(_grid(problem.k), tile))
    return layout


def _side(extents: tuple[Extent, ...], tile: TileShape) -> SideTiling:
    made = []
    for extent in extents:
        if extent.segment.is_grid:
            made.append(ExtentTiling(extent, tuple(map(contiguous, extent.lengths, tile))))
        elif extent.size:
            made.append(ExtentTiling(extent, (contiguous(extent.size, math.prod(tile)),)))
    return SideTiling(tuple(made))


def _grid(extents: tuple[Extent, ...]) -> tuple[int, ...]:
    return grid_of(extents).lengths
