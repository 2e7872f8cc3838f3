"""Which tile pairs are empty, full or partial: exactly, by three layers in turn.

1. Factors per axis (:mod:`separable`), or closed intervals of keys per query on long sequences
   (:mod:`rows`): exact by construction. Long sequences without such intervals are asked where
   tiles begin to repeat (:mod:`moving`).
2. Interval arithmetic on tiles (:mod:`boxes`) for what does not fall apart.
3. Element by element (:mod:`elements`) on the tiles that are still undecided, once for all tokens
   and tiles that the predicate cannot tell apart (:mod:`alike`).

A tile is live when the predicate holds somewhere on it, and full when the complement holds
nowhere: one question asked of two predicates. Where run-time tensors are not known yet, or the
last layer would cost too much, tiles stay partial and the answer says it is not exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis import rows
from attnlang.compiler.analysis.alike import cells, to_ask
from attnlang.compiler.analysis.diagonals import along, ends, moving_axis
from attnlang.compiler.analysis.elements import USUAL, Elements, operations
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.moving import moving_kinds, periods_of
from attnlang.compiler.analysis.tile_pairs import EMPTY, FULL, PARTIAL, tile_pairs
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.plan.table import RunTable, empty, from_kinds, from_runs, joined

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
ELEMENT_BUDGET = 1 << 28
"""Elements the last layer may evaluate for one pair of segments; fewer of large predicates."""

TILE_BUDGET = 1 << 24
"""Tile pairs that may be listed one by one."""

FEW_PAIRS = 1 << 16
"""Up to so many tile pairs nothing is gained by looking for what repeats."""

DENSE_AXIS = 2048
"""Up to this length an axis is enumerated; longer sequences are solved for key intervals."""


@dataclass(frozen=True, slots=True)
class Classified:
    """table: the visited tiles. exact: are its empty, partial and full all proved?"""

    table: RunTable
    exact: bool


def classify(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> Classified:
    """Classify every pair of a query tile and a key tile of two segments."""
    if q.extent.size == 0 or k.extent.size == 0 or predicate == e.FALSE:
        return Classified(empty(q.tiles, k.tiles), True)
    if predicate == e.TRUE:
        every, none = np.arange(q.tiles), np.zeros(q.tiles, dtype=np.int64)
        return Classified(from_runs([(every, none, none + k.tiles)], [], q.tiles, k.tiles), True)
    if len(q.axes) == len(k.axes) == 1 and max(q.extent.size, k.extent.size) > DENSE_AXIS:
        moved = _moved(predicate, q, k, known)
        if moved is not None:
            return moved
        solved = rows.classify_rows(predicate, q, k, known)
        if solved is not None:
            if solved.exact:
                return Classified(solved.table, True)
            return _refined(predicate, solved, q, k, known)
    return _classify_dense(predicate, q, k, known)


def _moved(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> Classified | None:
    """The tiles of a predicate that gives no intervals of keys, where most of them repeat."""
    if not FEW_PAIRS < q.tiles * k.tiles <= TILE_BUDGET or not known.covers(predicate):
        return None
    periods = periods_of(predicate, q, k)
    if periods is None or rows.solves(predicate, q, k, known):
        return None
    a, b = cells(predicate, q, Side.Q, known), cells(predicate, k, Side.K, known)

    def ask(r: IntArray, c: IntArray) -> tuple[BoolArray, BoolArray] | None:
        if len(r) * a.capacity * b.capacity > _budget(predicate):
            return None
        return Elements(a, b, known).any_and_all(predicate, r, c)

    kinds = moving_kinds(predicate, a, b, periods, known, ask)
    return None if kinds is None else Classified(from_kinds(kinds), True)


def _refined(
    predicate: Expr, solved: rows.Rows, q: ExtentTiling, k: ExtentTiling, known: Known
) -> Classified:
    """A table of tiles that may be live, made exact element by element where that is affordable."""
    table, partial = solved.table, solved.partial
    # Of the tiles not proved full, those not proved partial.
    doubtful = from_runs([table.runs(~table.full)], [partial], q.tiles, k.tiles)
    if int((doubtful.stops - doubtful.starts)[doubtful.full].sum()) > TILE_BUDGET:
        return Classified(table, False)
    r, c, _ = doubtful.entries(doubtful.full)
    found = _by_element(predicate, q, k, known, r, c)
    if found is None:
        return Classified(table, False)
    some, every = found
    whole = table.runs(table.full)
    asked = r[some], c[some], c[some] + 1
    row, starts, stops = (np.concatenate(x) for x in zip(whole, partial, asked, strict=True))
    full = np.repeat([True, False], [len(whole[0]), len(partial[0])])
    full = np.concatenate([full, every[some]])
    order = np.argsort(row * k.tiles + starts)
    runs = row[order], starts[order], stops[order]
    return Classified(joined(runs, full[order], q.tiles, k.tiles), True)


def _by_element(
    predicate: Expr,
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
    rows: IntArray,
    columns: IntArray,
) -> tuple[BoolArray, BoolArray] | None:
    """Does any pair of these tiles attend, and do all? None where asking would cost too much."""
    if not known.covers(predicate):
        return None
    asked = to_ask(predicate, q, k, known, rows, columns)
    if asked.elements > _budget(predicate):
        return None
    some, every = Elements(asked.q, asked.k, known).any_and_all(
        predicate, asked.rows, asked.columns
    )
    return some[asked.copies], every[asked.copies]


def _budget(predicate: Expr) -> int:
    """Elements that may be evaluated."""
    return ELEMENT_BUDGET // max(operations(predicate) // USUAL, 1)


def _classify_dense(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> Classified:
    kinds, exact = _kinds(predicate, q, k, known)
    return Classified(from_kinds(kinds), exact)


def _kinds(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[NDArray[np.uint8], bool]:
    """The kinds of all tile pairs ``[q tiles, k tiles]``, and whether all are proved."""
    axis = moving_axis(predicate, q, k)
    if axis is not None:
        by_row, sure = _kinds(predicate, ends(q, axis), k, known)
        by_column, sure_too = _kinds(predicate, q, ends(k, axis), known)
        return along(by_row, by_column, q, k, axis), sure and sure_too
    pairs = tile_pairs(predicate, q, k, known)
    r, c = pairs.rows, pairs.columns
    found = _by_element(predicate, q, k, known, r, c) if len(r) else None
    if found is not None:
        some, every = found
        pairs.kinds[r, c] = np.where(some, np.where(every, FULL, PARTIAL), EMPTY)
    return pairs.kinds, pairs.sure or found is not None
