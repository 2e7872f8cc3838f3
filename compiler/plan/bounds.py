"""The key interval of a query as formulas: lengths, parameters and the head stay symbols.

A plan has numbers for one length. A kernel that takes lengths as arguments works its loop bounds
out from the program id instead, with the expressions made here: the same solved literals that
the numeric plan evaluates (:mod:`attnlang.compiler.analysis.solve`), before lengths are put in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from attnlang.compiler.analysis.normal import Clause, clauses
from attnlang.compiler.analysis.solve import Congruent, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Side
from attnlang.compiler.ir.pattern import PatternIR, Segment
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.values import substitute_values
from attnlang.compiler.sema.segments import specialise


@dataclass(frozen=True, slots=True)
class AxisInterval:
    """Keys ``lower <= k < upper`` with ``k % step == residue``; none where ``upper <= lower``.

    lower, upper, residue: integer expressions over the query's coordinates and inputs, the head,
    lengths, and the parameters that were kept. The axis' own ends, 0 and its length, are among
    the bounds. step: 1 where keys are consecutive (residue is then 0).
    """

    axis: str
    lower: Expr
    upper: Expr
    step: int
    residue: Expr


@dataclass(frozen=True, slots=True)
class KeyBox:
    """The keys of a query under one clause: an interval on every key axis.

    condition: whether the query has any key at all, an expression over the query alone.
    """

    intervals: tuple[AxisInterval, ...]
    condition: Expr

    def axis(self, name: str) -> AxisInterval:
        """The interval of one axis. Raises KeyError where the keys have no such axis."""
        for interval in self.intervals:
            if interval.axis == name:
                return interval
        raise KeyError(name)


def key_boxes(
    pattern: PatternIR,
    *,
    group: int = 0,
    q_segment: str = GRID,
    k_segment: str = GRID,
    keep: Iterable[str] = (),
) -> tuple[KeyBox, ...] | None:
    """The keys of a query as a union of boxes, with lengths as symbols (:class:`ir.expr.Length`).

    The boxes may overlap. None when some literal does not solve to bounds on one key axis, so an
    answer is always the truth.

    group: which of the pattern's head groups. q_segment, k_segment: between which segments.
    keep: parameters that stay symbols too (:class:`ir.expr.Param`); divisors and moduli must be
    numbers for a literal to be solved.

    Integers are mathematical, as everywhere in the IR: that 64 bits suffice has to be shown for the
    lengths a kernel is to accept.
    """
    kept = frozenset(keep)
    values = tuple((n, v) for n, v in pattern.values if n not in kept)
    where = substitute_values(pattern.groups[group].attend.where, replace(pattern, values=values))
    q, k = _segment(pattern, Side.Q, q_segment), _segment(pattern, Side.K, k_segment)
    found = clauses(specialise(where, q, k))
    if found is None:
        return None
    axes = pattern.k_axes if k.is_grid else (k.name,)
    boxes = tuple(_box(clause, axes) for clause in found)
    return None if None in boxes else tuple(b for b in boxes if b is not None)


def _segment(pattern: PatternIR, side: Side, name: str) -> Segment:
    return next(s for s in pattern.segments_of(side) if s.name == name)


@dataclass(frozen=True, slots=True)
class AxisBounds:
    """What the literals of a clause say of one key axis: ``lower <= k < upper`` for all of them.

    step, residue: None where keys are consecutive.
    """

    lowers: tuple[Expr, ...]
    uppers: tuple[Expr, ...]
    congruence: tuple[int, Expr] | None


@dataclass(frozen=True, slots=True)
class ClauseBounds:
    """A clause solved for the key, without the ends of the axes.

    conditions: on the query alone. solved: False where some literal says more than the bounds.
    """

    axes: dict[str, AxisBounds]
    conditions: tuple[Expr, ...]
    solved: bool


def clause_bounds(clause: Clause, axes: tuple[str, ...]) -> ClauseBounds:
    """The bounds of one clause; literals that do not solve are left out."""
    lowers: dict[str, list[Expr]] = {a: [] for a in axes}
    uppers: dict[str, list[Expr]] = {a: [] for a in axes}
    steps: dict[str, tuple[int, Expr]] = {}
    conditions: list[Expr] = []
    solved = True
    for literal in clause:
        for fact in solve(literal):
            match fact:
                case Lower(axis=axis, bound=bound):
                    lowers[axis].append(bound)
                case Upper(axis=axis, bound=bound):
                    uppers[axis].append(bound)
                case Congruent(axis=axis) if axis in steps:
                    solved = False
                case Congruent(axis=axis, modulus=modulus, residue=residue):
                    steps[axis] = modulus, residue
                case RowOnly(condition=condition):
                    conditions.append(condition)
                case Opaque():
                    solved = False
    made = {a: AxisBounds(tuple(lowers[a]), tuple(uppers[a]), steps.get(a)) for a in axes}
    return ClauseBounds(made, tuple(conditions), solved)


def _box(clause: Clause, axes: tuple[str, ...]) -> KeyBox | None:
    found = clause_bounds(clause, axes)
    if not found.solved:
        return None
    intervals = []
    for axis, bounds in found.axes.items():
        step, residue = bounds.congruence or (1, e.Int(0))
        lower = _extreme("max", [e.Int(0), *bounds.lowers])
        upper = _extreme("min", [e.Length(Side.K, axis), *bounds.uppers])
        intervals.append(AxisInterval(axis, lower, upper, step, residue))
    conditions = found.conditions
    return KeyBox(tuple(intervals), simplify(e.And(conditions)) if conditions else e.TRUE)


def _extreme(function: str, bounds: list[Expr]) -> Expr:
    distinct = tuple(dict.fromkeys(bounds))
    return distinct[0] if len(distinct) == 1 else simplify(e.Apply(function, distinct))
