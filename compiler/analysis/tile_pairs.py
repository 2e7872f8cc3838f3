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
from attnlang.compiler.analysis.normal import clauses, complement
from attnlang.compiler.analysis.separable import (
    Factor,
    split,
    spread,
    strip_table,
)
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
EMPTY, PARTIAL, FULL = 0, 1, 2
LONGEST_AXIS = 1 << 13
"""Up to this length axes are enumerated position by position."""
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


@dataclass(frozen=True, eq=False)
class _Product:
    """A clause as a table over the strips of each pair of axes. whole: is that all of it?"""

    tables: list[tuple[Factor, BoolArray]]
    whole: bool


def tile_pairs(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> TilePairs:
    """Which tile pairs are empty, full and partial, by factors of axes and by intervals."""
    live = _products(predicate, q, k, known)
    broken = _products(complement(predicate), q, k, known)
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
        kinds[top : top + part.tiles] = some.view(np.uint8) + (some & ~fails)  # 1 + 1 is FULL
    none = np.zeros(0, dtype=np.int64)
    return TilePairs(kinds, sure, np.concatenate([none, *rows]), np.concatenate([none, *columns]))


def _slabs(q: ExtentTiling, k: ExtentTiling) -> Iterator[tuple[ExtentTiling, int]]:
    """The query tiles by strips of their first axis, and which strip is a slab's first."""
    strips = q.axes[0].strips
    step = max(1, SLAB // (q.tiles // strips * k.tiles))
    for first in range(0, strips, step):
        yield q.part(0, slice(first, first + step)), first


def _products(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> list[_Product] | None:
    """The clauses of a predicate; None where they are too many, or axes too long."""
    found = clauses(predicate)
    if found is None or max(q.extent.lengths + k.extent.lengths) > LONGEST_AXIS:
        return None
    made = []
    for clause in found:
        parts = split(clause, q, k, known)
        tables = []
        for factor in parts.factors:
            tables.append((factor, strip_table(factor, q, k, known)))
        made.append(_Product(tables, not parts.rest))
    return made


def _holds(
    union: list[_Product] | None, q: ExtentTiling, first: int, k: ExtentTiling
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
