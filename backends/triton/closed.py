"""Walks without tables: which keys a tile of queries needs, worked out from their coordinates.

Where every clause of a predicate solves to an interval of keys whose ends never decrease with the
query, the ends of a tile's queries bound what the tile visits, and what it fills:

    first = min of lower ends        last = max of upper ends         visited: first .. last
    full_first = max of lower ends   full_last = min of upper ends    full: full_first .. full_last

Nothing of it depends on a length that the kernel is not given. The transposed walk is the same with
queries and keys exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.analysis.monotone import growth
from attnlang.compiler.analysis.normal import Clause, clauses, reads
from attnlang.compiler.analysis.ranges import range_of
from attnlang.compiler.analysis.swap import swapped
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.plan.bounds import clause_bounds
from attnlang.compiler.sema.segments import specialise

MOST = 3
"""Intervals beyond which tables are shorter than the text that would replace them."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Tokens of the moving side: those at or after ``lower`` and before ``upper``, when
    ``condition`` holds of the standing token. None: no bound but the end of the sequence.

    whole: are all of them attended?
    """

    lower: Expr | None
    upper: Expr | None
    condition: Expr
    whole: bool

    @property
    def parts(self) -> tuple[Expr, ...]:
        return tuple(x for x in (self.lower, self.upper, self.condition) if x is not None)


def intervals(pattern: PatternIR, where: Expr, standing: Side) -> tuple[Interval, ...] | None:
    """What a token of the standing side attends, or is attended by; None where tables are needed.

    where: with the parameters' values. The pattern must have one axis and no other segments.
    """
    found = hulls(pattern, where, standing)
    if (
        found is None
        or len(found) > MOST
        or not all(i.whole and _grows(i, standing) for i in found)
    ):
        return None
    return found


def hulls(pattern: PatternIR, where: Expr, standing: Side) -> tuple[Interval, ...] | None:
    """Intervals that hold every attended token, and maybe others. None: nothing is known."""
    if not _plain(pattern):
        return None
    q, k = (pattern.segments_of(side)[0] for side in Side)
    predicate = specialise(where, q, k)
    if standing is Side.K:
        predicate = swapped(predicate)
    union = clauses(predicate)
    if union is None:
        return None
    axis = pattern.axes(Side.K if standing is Side.Q else Side.Q)[0]
    made = (_interval(clause, axis, standing) for clause in union)
    return tuple(dict.fromkeys(i for i in made if i is not None))


def rises(interval: Interval, standing: Side) -> bool:
    """Is it longer for later tokens of the standing side: does its end move, but not its begin?"""
    upper = _parts(interval.upper, "min")
    fixed = interval.lower is None or not reads(interval.lower, standing)
    return fixed and bool(upper) and all(reads(x, standing) for x in upper)


def _plain(pattern: PatternIR) -> bool:
    """Is each side one run of tokens along one axis?"""
    return all(
        len(pattern.axes(side)) == 1 and len(pattern.segments_of(side)) == 1 for side in Side
    )


def _interval(clause: Clause, axis: str, standing: Side) -> Interval | None:
    """The interval of a clause; None where it is empty at any length."""
    found = clause_bounds(clause, (axis,))
    bounds = found.axes[axis]
    lower, upper = (_extreme(f, x) for f, x in (("max", bounds.lowers), ("min", bounds.uppers)))
    numbers = [x.value for x in _parts(upper, "min") if isinstance(x, e.Int)]
    if numbers and min(numbers) <= 0:
        return None
    condition = simplify(e.And(found.conditions)) if found.conditions else e.TRUE
    if range_of(condition)[1] == 0:
        return None
    if standing is Side.K:
        lower, upper = (None if x is None else swapped(x) for x in (lower, upper))
        condition = swapped(condition)
    return Interval(lower, upper, condition, found.solved and bounds.congruence is None)


def _extreme(function: str, bounds: tuple[Expr, ...]) -> Expr | None:
    distinct = tuple(dict.fromkeys(bounds))
    if len(distinct) < 2:
        return distinct[0] if distinct else None
    return simplify(e.Apply(function, distinct))


def _parts(x: Expr | None, function: str) -> tuple[Expr, ...]:
    if isinstance(x, e.Apply) and x.function == function:
        return x.arguments
    return () if x is None else (x,)


def _grows(interval: Interval, standing: Side) -> bool:
    ends = (x for x in (interval.lower, interval.upper) if x is not None)
    return all(growth(x if standing is Side.Q else swapped(x)) is not None for x in ends)
