"""Conditions that are a set or something else: ``causal(n) and (band(n, w) or chosen[...])``.

Pairs that attend whatever was chosen have a plan, as those of any pattern do; the others are
attended by the set. What both give is one softmax by their log-sum-exps. A plan of all of them
would ask every pair.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

from attnlang.backends.blocked.sets import SetRead, set_read
from attnlang.backends.call import Call
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.problem.problem import Problem

Halves = tuple[Problem, Problem]
_halves: weakref.WeakKeyDictionary[Problem, Halves | None] = weakref.WeakKeyDictionary()
"""Plans are kept by problem, and so are these."""


def apart(call: Call) -> tuple[Call, Call, SetRead] | None:
    """The call of the pairs that attend anyway, and that of the set's others. None where the
    condition is no such union, or the set is no list."""
    if not call.inputs.lists:
        return None
    if call.problem not in _halves:
        _halves[call.problem] = _split(call)
    found = _halves[call.problem]
    if found is None:
        return None
    others, chosen = (replace(call, problem=p, need_lse=True) for p in found)
    read = set_read(chosen)
    return None if read is None else (others, chosen, read)


def _split(call: Call) -> Halves | None:
    problem = call.problem
    if len(problem.groups) != 1:
        return None
    where = problem.groups[0].attend.where
    parts = where.operands if isinstance(where, e.And) else (where,)
    for part in parts:
        either = _either(part)
        sets = [x for x in either if isinstance(x, e.Table) and x.name in call.inputs.lists]
        if len(sets) != 1 or len(either) < 2:
            continue
        rest = tuple(x for x in parts if x is not part)
        near = e.Or(tuple(x for x in either if x is not sets[0]))
        first = simplify(e.And((*rest, near)))
        second = simplify(e.And((*rest, sets[0], e.Not(near))))
        return _with(problem, first), _with(problem, second)
    return None


def _either(x: Expr) -> tuple[Expr, ...]:
    """The operands of a disjunction, and of those in it."""
    return tuple(y for o in x.operands for y in _either(o)) if isinstance(x, e.Or) else (x,)


def _with(problem: Problem, where: Expr) -> Problem:
    (group,) = problem.groups
    return replace(problem, groups=(replace(group, attend=replace(group.attend, where=where)),))
