"""Unions that are no boxes, as attentions of disjoint pairs.

Of ``same(y) or same(x)`` a tile of queries needs a cross of keys: no box holds it, and no layout
folds both its bars. As two attentions, of the row and of what else is in the column, each has a
layout without waste. One softmax over both is what their log-sum-exps make of their outputs.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

from attnlang.compiler.analysis.leaves import Known, parameter_tables
from attnlang.compiler.analysis.normal import Clause, clauses, complement
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser, PatternIR
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.layout.cost import TENSOR_CORES
from attnlang.compiler.plan.box_plan import box_plan
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.sema.segments import specialise

MOST = 4
"""Attentions of one pattern: each reads and writes all queries."""

_made: weakref.WeakKeyDictionary[Problem, tuple[Problem, ...]] = weakref.WeakKeyDictionary()


def branches(problem: Problem) -> tuple[Problem, ...]:
    """Problems of disjoint pairs which together are this one's, all of boxes; none where it is
    planned as it is. Their patterns have its name and a number; a sink is the first one's."""
    if problem not in _made:
        _made[problem] = _branches(problem)
    return _made[problem]


def _branches(problem: Problem) -> tuple[Problem, ...]:
    wheres = _disjoint(problem.pattern) if _merges(problem) else ()
    if not wheres or _boxed(problem):
        return ()
    made = []
    for i, where in enumerate(wheres):
        one = _bound(_with(problem.pattern, where, i), problem)
        if not _boxed(one):
            return ()
        made.append(one)
    return tuple(made)


def _merges(problem: Problem) -> bool:
    """Are its outputs those of its branches, merged? Rows are softmaxes that need no other keys."""
    if problem.outer is not None or len(problem.groups) != 1 or len(problem.pattern.q_axes) == 1:
        return False
    attend = problem.groups[0].attend
    rows = (x for root in (attend.score, attend.gain) if root is not None for x in walk(root))
    return (
        attend.normaliser is Normaliser.SOFTMAX
        and attend.empty is EmptyRule.ZERO
        and not any(isinstance(x, e.Apply) and x.function == "row_max" for x in rows)
    )


def _disjoint(pattern: PatternIR) -> tuple[Expr, ...]:
    """The condition as one for each set of axes that its clauses read, without the pairs of those
    before it: products of axes, as all but the last read one axis alone. None where they do not."""
    where = closed_groups(pattern)[0].attend.where
    segments = {side: pattern.segments_of(side) for side in Side}
    grids = [next(s for s in own if s.is_grid) for own in segments.values()]
    found = clauses(specialise(where, *grids))
    by_axes: dict[frozenset[str], list[Expr]] = {}
    for clause in found or ():
        by_axes.setdefault(_axes(clause), []).append(e.And(clause))
    ordered = sorted(by_axes, key=len)
    if not 1 < len(ordered) <= MOST or any(len(axes) != 1 for axes in ordered[:-1]):
        return ()
    unions = [e.Or(tuple(by_axes[axes])) for axes in ordered]
    made: list[Expr] = [
        e.And((union, *(complement(before) for before in unions[:i])))
        for i, union in enumerate(unions)
    ]
    if any(len(own) > 1 for own in segments.values()):
        # Other segments' tokens are the first one's.
        inside = e.And(tuple(e.InSegment(side, e.GRID) for side in Side))
        first, *others = (e.And((inside, x)) for x in made)
        made = [e.Or((first, e.And((e.Not(inside), where)))), *others]
    return tuple(simplify(x) for x in made)


def _axes(clause: Clause) -> frozenset[str]:
    return frozenset(x.axis for y in clause for x in walk(y) if isinstance(x, e.Coord))


def _with(pattern: PatternIR, where: Expr, number: int) -> PatternIR:
    (group,) = pattern.groups
    sink = None if number else group.attend.sink
    attend = replace(group.attend, where=where, sink=sink, empty=EmptyRule.ZERO)
    name = f"{pattern.name}_{number}"
    return replace(pattern, name=name, groups=(replace(group, attend=attend),))


def _bound(pattern: PatternIR, like: Problem) -> Problem:
    sizes = {
        f"{side}.{axis}": length
        for side in Side
        for extent in like.extents(side)
        for axis, length in zip(extent.axes, extent.lengths, strict=True)
    }
    return bind(
        pattern, sizes, heads=like.heads, kv_heads=like.kv_heads, head_dim=like.head_dim,
        q_offset=grid_of(like.q).origin[0],
    )  # fmt: skip


def _boxed(problem: Problem) -> bool:
    known = Known({}, parameter_tables(problem))
    return box_plan(problem, head_classes(problem), known, TENSOR_CORES) is not None
