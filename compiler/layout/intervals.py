"""Reach in closed form: one interval of keys for every query of an axis, however long it is.

Inside a class of residues modulo ``m`` a key is ``k = m * u + q % m``. With that put in, literals
are solved for the member ``u``: multiples of ``m`` leave ``//`` and ``%``, congruences become
conditions on the query, and bounds are evaluated once a query. Costs O(queries), never O(pairs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause, expression
from attnlang.compiler.analysis.solve import Congruent, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals as Ranges
from attnlang.compiler.ir.intervals import Range
from attnlang.compiler.ir.linear import Linear, is_integer, linear
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling
from attnlang.compiler.problem.bind import LARGEST, PYTHON
from attnlang.compiler.syntax.limits import MAX_INTEGER

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MemberRows:
    """For each query, in strip order, the members ``low <= u < high`` of its class it attends.

    A key's position is ``step * u + first`` with ``first`` the query's position modulo ``step``.
    """

    step: int
    first: IntArray
    low: IntArray
    high: IntArray


def member_rows(
    literals: Clause,
    axis: int,
    step: int,
    order: IntArray,
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
) -> MemberRows | None:
    """The literals over one axis solved for the key, query by query; None where they cannot be.

    axis: its index. step: distance of the neighbours of a class, 1 where classes are intervals.
    order: positions of the queries. Where step is above 1 both sides are the same axis.
    """
    name, origin = k.extent.axes[axis], k.extent.origin[axis]
    positions = order + q.extent.origin[axis]
    low = np.zeros(len(order), dtype=np.int64)
    first = order % step
    high = -(-(k.extent.lengths[axis] - first) // step)
    # Members are counted from the coordinate's own residue; positions begin at the origin.
    shift = (first + origin - positions % step) // step

    def tokens(x: e.TokenInput) -> Any:
        return known.tokens[x.name, x.side][order]

    leaf = axis_leaf({q.extent.axes[axis]: positions}, {}, tokens, known)
    for literal in literals:
        if not known.covers(literal):
            return None
        for fact in solve(simplify(_by_member(literal, name, step))):
            match fact:
                case Lower(bound=x) | Upper(bound=x) if not _fits(x, q, axis):
                    return None
                case Lower(bound=x):
                    low = np.maximum(low, evaluate(x, leaf) - shift)
                case Upper(bound=x):
                    high = np.minimum(high, evaluate(x, leaf) - shift)
                case RowOnly(condition=x):
                    high = np.where(np.asarray(evaluate(x, leaf)).astype(bool), high, low)
                case Congruent() | Opaque():
                    return None
    return MemberRows(step, first, low, np.maximum(high, low))


def _by_member(literal: Expr, axis: str, step: int) -> Expr:
    """The literal with ``step * u + q % step`` for the key, where the key now stands for ``u``."""
    if step == 1:
        return literal
    q, k, m = e.Coord(Side.Q, axis), e.Coord(Side.K, axis), e.Int(step)
    key = e.Arith("+", e.Arith("*", m, k), e.Arith("%", q, m))

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Coord(side=Side.K):
                return key
            case e.Arith(op="//" | "%", left=a, right=e.Int(value=n)) if n > 0 and is_integer(a):
                return _without_multiples(x, linear(a), n)
            case _:
                return None

    return rewrite(literal, rule)


def _without_multiples(x: e.Arith, form: Linear, n: int) -> Expr | None:
    """``(n * a + b) // n = a + b // n`` and ``(n * a + b) % n = b % n``."""
    whole = tuple((a, c // n) for a, c in form.terms if c % n == 0)
    if not whole:
        return None
    rest = Linear(tuple(t for t in form.terms if t[1] % n), form.constant)
    inner = e.Arith(x.op, expression(rest), e.Int(n))
    return inner if x.op == "%" else e.Arith("+", expression(Linear(whole, 0)), inner)


def _fits(bound: Expr, q: ExtentTiling, axis: int) -> bool:
    """Is every part of a bound proved to fit 64 bits?"""
    fits = True

    def watch(_: Expr, found: Range) -> None:
        nonlocal fits
        fits = fits and bool(abs(found[0]) <= LARGEST and abs(found[1]) <= LARGEST)

    def leaf(x: Expr) -> Range:
        if isinstance(x, e.Coord):
            first = q.extent.origin[axis]
            return first, first + q.extent.lengths[axis] - 1
        return -MAX_INTEGER, MAX_INTEGER

    Ranges(PYTHON, leaf, watch).of(bound)
    return fits


def interval_reach(rows: MemberRows, strips: AxisTiling) -> AxisReach | None:
    """The reach of an axis' strips from its queries' intervals; None when a strip's have gaps."""
    at = strips.offsets
    low, high = rows.low, rows.high
    solid = high > low
    far = np.iinfo(np.int64).max
    start = np.minimum.reduceat(np.where(solid, low, far), at)
    stop = np.maximum.reduceat(np.where(solid, high, -1), at)
    none = stop < 0
    start, stop = np.where(none, 0, start), np.where(none, 0, stop)
    if _gaps(low, high, strips):
        return None
    inner = np.maximum.reduceat(low, at)
    full = np.maximum(np.minimum.reduceat(high, at) - inner, 0)
    starts = np.where(none, 0, rows.first[at] + start * rows.step)

    def truth() -> NDArray[np.bool_]:
        i = np.minimum(at[:, None] + np.arange(strips.size), len(low) - 1)
        real = np.arange(strips.size) < strips.counts[:, None]
        j = np.arange(max(int((stop - start).max(initial=0)), 1)) + start[:, None]
        j = j[:, None, :]
        inside: NDArray[np.bool_] = (j >= low[i][:, :, None]) & (j < high[i][:, :, None])
        return inside & real[:, :, None]

    return AxisReach(
        starts,
        rows.step,
        stop - start,
        np.where(full > 0, inner - start, 0),
        full,
        lambda: int((high - low).sum()),
        truth,
    )


def _gaps(low: IntArray, high: IntArray, strips: AxisTiling) -> bool:
    """Is there a strip the union of whose intervals is not one interval?"""
    solid = high > low
    touch = solid[1:] & solid[:-1] & (low[1:] <= high[:-1]) & (low[:-1] <= high[1:])
    strip = np.repeat(np.arange(strips.strips), strips.counts)
    apart = strip[1:][~touch & (strip[1:] == strip[:-1])]
    doubtful = np.unique(apart)
    if not len(doubtful):
        return False
    # Neighbours that do not touch may still be joined by other queries of the strip.
    i = strips.offsets[doubtful, None] + np.arange(strips.size)
    real = np.arange(strips.size) < strips.counts[doubtful, None]
    i = np.minimum(i, len(low) - 1)
    real &= solid[i]
    a = np.where(real, low[i], np.iinfo(np.int64).max)
    by = np.argsort(a, axis=1, kind="stable")
    a = np.take_along_axis(a, by, axis=1)
    b = np.take_along_axis(np.where(real, high[i], -1), by, axis=1)
    reach = np.maximum.accumulate(b, axis=1)
    return bool(((a[:, 1:] > reach[:, :-1]) & (b[:, 1:] >= 0)).any())
