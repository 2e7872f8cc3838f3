"""Clauses as products of tables over strips, and the kinds of tiles where those say everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.analysis.separable import Factor, split, spread, strip_table
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling

BoolArray = NDArray[np.bool_]
Kinds = NDArray[np.uint8]
LONGEST_AXIS = 1 << 13
"""Up to this length axes are enumerated position by position."""
MOST_PRODUCTS = 62
"""Those of which a 64-bit number says which hold."""


@dataclass(frozen=True, eq=False)
class Product:
    """A clause as a table over the strips of each pair of axes. whole: is that all of it?"""

    tables: list[tuple[Factor, BoolArray]]
    whole: bool


def products(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> list[Product] | None:
    """The clauses of a predicate; None where they are too many, or axes too long."""
    found = clauses(predicate)
    if found is None or max(q.extent.lengths + k.extent.lengths) > LONGEST_AXIS:
        return None
    made = []
    for clause in found:
        parts = split(clause, q, k, known)
        tables = [(factor, strip_table(factor, q, k, known)) for factor in parts.factors]
        made.append(Product(tables, not parts.rest))
    return made


def kinds_of(some: BoolArray, fails: BoolArray) -> Kinds:
    """EMPTY, PARTIAL or FULL, by whether some pair of a tile holds and whether one fails."""
    return some.view(np.uint8) + (some & ~fails)  # 1 + 1 is FULL


def kinds_by_first_axes(
    live: list[Product], broken: list[Product], q: ExtentTiling, k: ExtentTiling
) -> Kinds | None:
    """The kinds of all tile pairs ``[q tiles, k tiles]`` of a predicate that is ``live``'s union
    and fails on ``broken``'s, where each product is whole and no factor joins first axes to others.

    What a pair of strips of the first axes says is which products hold there: one of a few things,
    under each of which the kinds are the same. They are worked out once and copied. None elsewhere.
    """
    if len(live) + len(broken) > MOST_PRODUCTS or len(q.axes) == 1 or len(k.axes) == 1:
        return None
    above = np.zeros((q.axes[0].strips, k.axes[0].strips), dtype=np.int64)
    under = []
    for i, one in enumerate((*live, *broken)):
        parts = _parted(one, q.extent.axes[0], k.extent.axes[0])
        if parts is None:
            return None
        first, others = parts
        above |= first.astype(np.int64) << i
        under.append(others)
    said, which = np.unique(above, return_inverse=True)
    one_q, one_k = q.part(0, slice(1)), k.part(0, slice(1))
    tables = [spread(others, one_q, one_k) for others in under]
    kinds = np.empty((len(said), one_q.tiles, one_k.tiles), dtype=np.uint8)
    for saying, place in zip(said, kinds, strict=True):
        held = [bool(saying >> i & 1) for i in range(len(tables))]
        cut = len(live)
        place[...] = kinds_of(_union(tables[:cut], held[:cut]), _union(tables[cut:], held[cut:]))
    rows = which.reshape(len(above), 1, -1) * one_q.tiles + np.arange(one_q.tiles)[:, None]
    return kinds.reshape(-1, one_k.tiles).take(rows.ravel(), axis=0).reshape(q.tiles, k.tiles)


def _parted(
    product: Product, first_q: str, first_k: str
) -> tuple[BoolArray, list[tuple[Factor, BoolArray]]] | None:
    """What a product says of its sides' first axes, and its factors over the others."""
    if not product.whole:
        return None
    first = np.ones((1, 1), dtype=bool)
    others = []
    for factor, table in product.tables:
        reads = (factor.q_axis == first_q, factor.k_axis == first_k)
        if not any(reads):
            others.append((factor, table))
        elif all(reads) or None in (factor.q_axis, factor.k_axis):
            first = first & table
        else:
            return None
    return first, others


def _union(tables: Sequence[BoolArray], held: Sequence[bool]) -> BoolArray:
    found = np.zeros_like(tables[0])
    for table, holds in zip(tables, held, strict=True):
        if holds:
            found |= table
    return found
