"""The kind of every pair of tiles of two grids, a slab of query tiles at a time.

What reads one axis has that axis' strips as its shape, and meets the others last. So most of a
predicate is as small as its axes, and what is as large as the pairs stays in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis import boxes
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import complement
from attnlang.compiler.analysis.products import Product, kinds_by_first_axes, kinds_of, products
from attnlang.compiler.analysis.separable import Factor, spread
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
EMPTY, PARTIAL, FULL = 0, 1, 2
SLAB = 1 << 20
"""Tile pairs at once."""


@dataclass(frozen=True, eq=False)
class TilePairs:
    """kinds ``[q tiles, k tiles]``: EMPTY, PARTIAL or FULL. sure: are all of them proved?

    rows, columns: those which are PARTIAL for want of a proof; none are listed where tensors are
    not known, as nothing more can be found out.
    """

    kinds: NDArray[np.uint8]
    sure: bool
    rows: IntArray
    columns: IntArray


def tile_pairs(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> TilePairs:
    """Which tile pairs are empty, full and partial, by factors of axes and by intervals."""
    live = products(predicate, q, k, known)
    broken = products(complement(predicate), q, k, known)
    none = np.zeros(0, dtype=np.int64)
    if live and broken and (copied := kinds_by_first_axes(live, broken, q, k)) is not None:
        return TilePairs(copied, True, none, none)
    listed, sure = known.covers(predicate), True
    kinds = np.empty((q.tiles, k.tiles), dtype=np.uint8)
    rows, columns = [], []
    for part, first in _slabs(q, k):
        top = first * (part.tiles // part.axes[0].strips)
        some, some_maybe = _holds(live, part, first, k)
        fails, fails_maybe = _holds(broken, part, first, k)
        undecided = (some_maybe & ~some) | (fails_maybe & ~fails)
        if undecided.any():
            may, must = boxes.may_and_must(predicate, part, k, known)
            undecided &= may & ~must
            some = (some & may) | must | undecided
            fails = (fails & ~must) | ~may | undecided
            sure = sure and not undecided.any()
            if listed:
                r, c = np.nonzero(undecided)
                rows.append(r + top)
                columns.append(c)
        kinds[top : top + part.tiles] = kinds_of(some, fails)
    return TilePairs(kinds, sure, np.concatenate([none, *rows]), np.concatenate([none, *columns]))


def _slabs(q: ExtentTiling, k: ExtentTiling) -> Iterator[tuple[ExtentTiling, int]]:
    """The query tiles by strips of their first axis, and which strip is a slab's first."""
    strips = q.axes[0].strips
    step = max(1, SLAB // (q.tiles // strips * k.tiles))
    for first in range(0, strips, step):
        yield q.part(0, slice(first, first + step)), first


def _holds(
    union: list[Product] | None, q: ExtentTiling, first: int, k: ExtentTiling
) -> tuple[BoolArray, BoolArray]:
    """Tile pairs of a slab on which a union surely holds somewhere, and those where it may."""
    surely = np.zeros((q.tiles, k.tiles), dtype=bool)
    if union is None:
        return surely, np.ones_like(surely)
    maybe = np.zeros_like(surely)
    for product in union:
        here = [(f, _rows(f, table, q, first)) for f, table in product.tables]
        into = surely if product.whole else maybe
        into |= spread(here, q, k)
    return surely, maybe | surely


def _rows(factor: Factor, table: BoolArray, q: ExtentTiling, first: int) -> BoolArray:
    """The part of a factor's table that a slab has."""
    slab = factor.q_axis == q.extent.axes[0]
    return table[first : first + q.axes[0].strips] if slab else table
