"""Remainders that run through few periods: one clause for each, without the remainder.

``(k.n - 5) % 100`` on an axis of 100 is ``k.n + 95`` before the key 5 and ``k.n - 5`` from it on.
A clause that reads it together with the query is the union of the two, and each is solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attnlang.compiler.analysis.normal import Clause, clauses, reads
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals, Range
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.bind import PYTHON
from attnlang.compiler.syntax.limits import MAX_INTEGER

MOST_PERIODS = 3
"""A window around a ring meets three; beyond, clauses would multiply."""
MOST_CLAUSES = 64


def unwrapped(found: Iterable[Clause], q: ExtentTiling, k: ExtentTiling) -> tuple[Clause, ...]:
    """The same union of clauses, remainders of keys and queries together put away."""

    def leaf(x: Expr) -> Range:
        if isinstance(x, e.Coord):
            extent = (q if x.side is Side.Q else k).extent
            i = extent.axes.index(x.axis)
            return extent.origin[i], extent.origin[i] + max(extent.lengths[i], 1) - 1
        return -MAX_INTEGER, MAX_INTEGER

    before = tuple(found)
    made: dict[Clause, None] = {}
    for clause in before:
        made.update(dict.fromkeys(_unwrap(clause, Intervals(PYTHON, leaf))))
        if len(made) > MOST_CLAUSES:
            return before
    return tuple(made)


def _unwrap(clause: Clause, ranges: Intervals) -> Iterator[Clause]:
    for literal in clause:
        if not (reads(literal, Side.K) and reads(literal, Side.Q)):
            continue
        for x in walk(literal):
            match x:
                case e.Arith(op="%", left=inner, right=e.Int(value=m)) if m > 0 and reads(
                    x, Side.K
                ):
                    low, high = (bound // m for bound in ranges.of(inner))
                    if high - low < MOST_PERIODS:
                        for period in range(low, high + 1):
                            for case in _in_period(clause, x, inner, m, period, low, high):
                                yield from _unwrap(case, ranges)
                        return
                case _:
                    pass
    yield clause


def _in_period(
    clause: Clause, x: e.Arith, inner: Expr, m: int, period: int, low: int, high: int
) -> tuple[Clause, ...]:
    """The clause where ``inner // m == period``."""
    plain = e.Arith("-", inner, e.Int(m * period))
    condition: list[Expr] = [rewrite(y, lambda z: plain if z == x else None) for y in clause]
    if period > low:
        condition.append(e.Compare(">=", inner, e.Int(m * period)))
    if period < high:
        condition.append(e.Compare("<", inner, e.Int(m * (period + 1))))
    return clauses(e.And(tuple(condition))) or ()
