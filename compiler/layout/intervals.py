"""Reach in closed form: one interval of keys for every query of an axis, however long it is.

Inside a class of residues modulo ``m`` a key is ``k = m * u + q % m``. With that put in, literals
are solved for the member ``u``: multiples of ``m`` leave ``//`` and ``%``, congruences become
conditions on the query, and bounds are evaluated once a query. Costs O(queries), never O(pairs).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause, expression
from attnlang.compiler.analysis.solve import Congruent, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate, remainder
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals as Ranges
from attnlang.compiler.ir.intervals import Range
from attnlang.compiler.ir.linear import Linear, is_integer, linear
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.bind import LARGEST, PYTHON
from attnlang.compiler.syntax.limits import MAX_INTEGER

IntArray = NDArray[np.int64]


def member_rows(
    literals: Clause,
    axis: int,
    step: int,
    order: IntArray,
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
) -> tuple[IntArray, IntArray] | None:
    """The literals over one axis solved for the key: for each query the members ``low <= u < high``
    of its class that it attends. None where they cannot be solved.

    axis: its index. step: distance of the neighbours of a class, 1 where classes are intervals:
    a key's position is ``step * u`` plus the query's position modulo ``step``. order: positions of
    the queries. Where step is above 1 both sides are the same axis.
    """
    name, origin = k.extent.axes[axis], k.extent.origin[axis]
    positions = order + q.extent.origin[axis]
    low = np.zeros(len(order), dtype=np.int64)
    first = remainder(order, step)
    high = -(-(k.extent.lengths[axis] - first) // step)
    # Members are counted from the coordinate's own residue; positions begin at the origin.
    shift = (first + origin - remainder(positions, step)) // step

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
    return low, np.maximum(high, low)


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
