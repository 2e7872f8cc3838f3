"""Tile shapes of grids whose predicates are no boxes: that of which a sample of tiles visits least.

Where what attends shrinks with the distance along one axis, as with Radial's bands that halve from
frame to frame, tiles that are short on that axis and long on another visit half of what cubes do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.tile_pairs import EMPTY, tile_pairs
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling, IntArray, contiguous
from attnlang.compiler.problem.problem import Extent

TileShape: TypeAlias = tuple[int, ...]
SAMPLED = 5
"""Strips of an axis whose tiles are looked at."""
MOST_ASKED = 1 << 18
"""Tile pairs of a sample; shapes with more are not tried."""
WORTH = 0.9
"""Of what cubes visit: what another shape may visit at most to be taken."""


def best_shape(
    wheres: Sequence[tuple[Expr, int]], q: Extent, k: Extent, first: TileShape, known: Known
) -> TileShape:
    """The extents of tiles, of queries and keys alike, with as many slots as ``first``; that one
    unless another visits less.

    wheres: each class' predicate and its number of heads.
    """
    if q.axes != k.axes or not all(known.covers(w) for w, _ in wheres):
        return first
    least = WORTH * _visited(wheres, q, k, first, known)
    best = first
    for shape in _shapes(q.lengths, math.prod(first)):
        found = _visited(wheres, q, k, shape, known)
        if found < least:
            best, least = shape, found
    return best


def _shapes(lengths: tuple[int, ...], size: int) -> Iterator[TileShape]:
    """Powers of two on every axis, no longer than it has use for."""
    options = [[1 << i for i in range(max(n - 1, 0).bit_length() + 1)] for n in lengths]
    return (x for x in itertools.product(*options) if math.prod(x) == size)


def _visited(
    wheres: Sequence[tuple[Expr, int]], q: Extent, k: Extent, shape: TileShape, known: Known
) -> float:
    """Slots that all heads visit, going by some query tiles; infinity where these see too many."""
    tiles_q, tiles_k = (ExtentTiling(x, tuple(map(contiguous, x.lengths, shape))) for x in (q, k))
    sample = tiles_q
    for i, axis in enumerate(tiles_q.axes):
        sample = sample.part(i, _spread(axis.strips))
    if sample.tiles * tiles_k.tiles > MOST_ASKED:
        return math.inf
    total = 0.0
    for where, heads in wheres:
        kinds = tile_pairs(where, sample, tiles_k, known).kinds
        total += heads * float((kinds != EMPTY).mean())
    return total * tiles_q.tiles * tiles_k.tiles * math.prod(shape) ** 2


def _spread(strips: int) -> IntArray:
    """Some strips, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, strips - 1, SAMPLED).astype(np.int64))
