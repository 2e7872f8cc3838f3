"""Queries that have a key for sure, whatever a selection chooses.

Either a pair surely attends: one that is forced, or that no set decides. Or a choice has a member
at least, and every member brings a key that the rest of the condition leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses, complement
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals
from attnlang.compiler.ir.program import SizeOf
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.plan.facts import same_tokens
from attnlang.compiler.problem.bind import PYTHON, leaf_ranges
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.rows import Rows
from attnlang.compiler.report.steps.sets import Chosen, Sets, by_place, certain
from attnlang.compiler.sema.rows import key_is_query
from attnlang.compiler.sema.segments import specialise

MAX_CLAUSES = 8
Queries = NDArray[np.bool_]


def fed(problem: Problem, sets: Sets, known: Known, made: BoundProgram) -> bool:
    """Is every query proved to have a key? False where it is not, or may not be so."""
    return all(_fed(r, problem, sets, made) for r in relations(problem, known))


def _fed(relation: Relation, problem: Problem, sets: Sets, made: BoundProgram) -> bool:
    sure = _with(relation, certain(relation.where, sets, relation.known))
    if same_tokens(problem) and _attends_itself(sure.where, problem):
        return True
    rows = rows_of(sure)
    some: Queries = np.zeros(relation.q_len, dtype=bool)
    if rows is not None and rows.exact:
        some |= rows.keys > 0
    split = (
        None if len(problem.q) > 1 or len(problem.k) > 1 else clauses(relation.where, MAX_CLAUSES)
    )
    for clause in split or ():
        for literal in clause:
            if some.all() or not isinstance(literal, e.Table) or literal.name not in sets:
                continue
            rest = simplify(e.And(tuple(x for x in clause if x is not literal)))
            found = _by_members(literal, rest, sets[literal.name], problem, made)
            if found is not None:
                some |= found
    return bool(some.all())


def _attends_itself(where: Expr, problem: Problem) -> bool:
    """Does every query see the key at its own place? By interval arithmetic."""
    ranges = leaf_ranges(problem.pattern, problem.q, problem.k, problem.heads, problem.kv_heads)
    for x in problem.q:
        own = simplify(rewrite(specialise(where, x.segment, x.segment), key_is_query))
        if own != e.TRUE and not Intervals(PYTHON, ranges).of(own)[0] > 0:
            return False
    return True


def _by_members(
    read: e.Table, rest: Expr, found: Chosen, problem: Problem, made: BoundProgram
) -> Queries | None:
    """The queries whose choice has a member, each with a key that ``rest`` leaves: the first of
    those that read the member. None where that is not seen."""
    if not (found.exact and found.by_query and by_place(rest) and _minimum(found, made) > 0):
        return None
    (q,), (k,) = problem.q, problem.k
    if any(k.origin):
        return None
    queries, members = found.indices(read)
    q_cuts, k_cuts = _cuts(queries, Side.Q, q.axes), _cuts(members, Side.K, k.axes)
    if q_cuts is None or k_cuts is None:
        return None
    if any((n - 1) * c >= m for n, c, m in zip(found.k.lengths, k_cuts, k.lengths, strict=True)):
        return None
    places: dict[tuple[Side, str], Expr] = {}
    for axis, own, cut in zip(k.axes, found.k.axes, k_cuts, strict=True):
        places[Side.K, axis] = e.Arith("*", e.Coord(Side.K, own), e.Int(cut))
    several = any(c > 1 for c in q_cuts)
    for axis, own in zip(q.axes, found.q.axes, strict=True):
        places[Side.Q, axis] = e.Coord(Side.Q, own)
    if several and any(isinstance(x, e.Coord) and x.side is Side.Q for x in walk(rest)):
        return None

    def put(x: Expr) -> Expr | None:
        return places.get((x.side, x.axis)) if isinstance(x, e.Coord) else None

    some, bad = (
        rows_of(Relation((0,), x, (found.q,), (found.k,), Known()))
        for x in (found.may, simplify(e.And((found.may, complement(rewrite(rest, put))))))
    )
    good = _good(some, bad)
    if good is None or not several:
        return good
    return np.full(problem.q_len, bool(good.all()))


def _good(some: Rows | None, bad: Rows | None) -> Queries | None:
    """With candidates, none of them without a key."""
    if some is None or bad is None or not some.exact:
        return None
    found: Queries = (some.keys > 0) & (bad.keys == 0)
    return found


def _minimum(found: Chosen, made: BoundProgram) -> int:
    """Members that a choice has at least, where there are candidates."""
    rule = found.select.rule
    match rule.kind:
        case "top" if not isinstance(rule.amount, SizeOf):
            return int(made.number(rule.amount))
        case "mass":
            return 1
        case _:
            return 0


def _cuts(indices: Sequence[Expr], side: Side, axes: tuple[str, ...]) -> list[int] | None:
    """``[1, 64]`` for the indices ``q.y, q.x // 64``; None for any others."""
    found: list[int] = []
    for index, axis in zip(indices, axes, strict=False):
        match index:
            case e.Coord(side=s, axis=a) if (s, a) == (side, axis):
                found.append(1)
            case e.Arith(op="//", left=e.Coord(side=s, axis=a), right=e.Int(value=c)) if (s, a) == (
                side,
                axis,
            ) and c > 0:
                found.append(c)
            case _:
                return None
    return found if len(indices) == len(axes) else None


def _with(relation: Relation, where: Expr) -> Relation:
    return Relation(relation.heads, where, relation.q, relation.k, relation.known)
