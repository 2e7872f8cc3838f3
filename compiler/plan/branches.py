"""Unions that are no boxes, as attentions of disjoint pairs.

Of ``same(y) or same(x)`` a tile of queries needs a cross of keys: no box holds it, and no layout
folds both its bars. As two attentions, of the row and of what else is in the column, each has a
layout without waste. So have a window and every 128th key counted from the query, of one sequence.
One softmax over both is what their log-sum-exps make of their outputs.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import replace

from attnlang.compiler.analysis.leaves import Known, parameter_tables
from attnlang.compiler.analysis.normal import Clause, clauses, complement
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.absorb import absorbed
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser, PatternIR
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.layout.cost import TENSOR_CORES
from attnlang.compiler.layout.folds import Fold, Residues, Whole, find_fold
from attnlang.compiler.plan.box_plan import box_plan
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.sema.segments import specialise

MOST = 4
"""Attentions of one pattern: each reads and writes all queries."""
WORTH = 0.5
"""Of the slots that one attention of boxes visits: what its branches may visit at most."""

ENUMERATED = 1 << 20
"""Pairs of a sequence that are looked at for it."""

_made: weakref.WeakKeyDictionary[Problem, tuple[Problem, ...]] = weakref.WeakKeyDictionary()


def branches(problem: Problem) -> tuple[Problem, ...]:
    """Problems of disjoint pairs which together are this one's, all of boxes; none where boxes of
    its own visit hardly more. Their patterns have its name and a number; a sink is the first's."""
    if problem not in _made:
        _made[problem] = _branches(problem)
    return _made[problem]


def _branches(problem: Problem) -> tuple[Problem, ...]:
    wheres = _disjoint(problem.pattern) if _merges(problem) else ()
    if not wheres:
        return ()
    together = _visited(problem) if _enumerated(problem) else None
    left = math.inf if together is None else WORTH * together
    made = []
    for i, where in enumerate(wheres):
        one = _bound(_with(problem.pattern, where, i), problem)
        visited = _visited(one)
        if visited is None or visited > left:
            return ()
        left -= visited
        made.append(one)
    return tuple(made)


def _merges(problem: Problem) -> bool:
    """Are its outputs those of its branches, merged? Rows are softmaxes that need no other keys."""
    if problem.outer is not None or len(problem.groups) != 1:
        return False
    attend = problem.groups[0].attend
    rows = (x for root in (attend.score, attend.gain) if root is not None for x in walk(root))
    return (
        attend.normaliser is Normaliser.SOFTMAX
        and attend.empty is EmptyRule.ZERO
        and not any(isinstance(x, e.Apply) and x.function == "row_max" for x in rows)
    )


def _disjoint(pattern: PatternIR) -> tuple[Expr, ...]:
    """The condition as one for each kind of clauses, without the pairs of those before it; none
    where all are of one kind, and where what is left of them would be no product of axes."""
    where = closed_groups(pattern)[0].attend.where
    if len(clauses(where) or ()) == 1:
        return ()
    segments = {side: pattern.segments_of(side) for side in Side}
    grids = [next(s for s in own if s.is_grid) for own in segments.values()]
    found = clauses(specialise(where, *grids)) or ()
    kinds = _by_axes(found) if len(pattern.q_axes) > 1 else _by_fold(found, pattern.q_axes[0])
    if not 1 < len(kinds) <= MOST:
        return ()
    unions = [e.Or(tuple(e.And(clause) for clause in kind)) for kind in kinds]
    made: list[Expr] = [
        e.And((union, *(complement(before) for before in unions[:i])))
        for i, union in enumerate(unions)
    ]
    if any(len(own) > 1 for own in segments.values()):
        # Other segments' tokens are the first one's.
        inside = e.And(tuple(e.InSegment(side, e.GRID) for side in Side))
        first, *others = (e.And((inside, x)) for x in made)
        made = [e.Or((first, e.And((e.Not(inside), where)))), *others]
    return tuple(absorbed(simplify(x)) for x in made)


def _by_axes(found: Sequence[Clause]) -> list[list[Clause]]:
    """Clauses that read the same axes, those of fewest first. None where two kinds read several:
    all but the last are left out of others, which must stay products of axes."""
    kinds: dict[frozenset[str], list[Clause]] = {}
    for clause in found:
        axes = frozenset(x.axis for y in clause for x in walk(y) if isinstance(x, e.Coord))
        kinds.setdefault(axes, []).append(clause)
    ordered = sorted(kinds, key=len)
    return [kinds[x] for x in ordered] if all(len(x) == 1 for x in ordered[:-1]) else []


def _by_fold(found: Sequence[Clause], axis: str) -> list[list[Clause]]:
    """Clauses of one axis by the residues they fold it by, last; those that fold it by none, or by
    blocks, are a few intervals together, and a few intervals are left without them."""
    kinds: dict[Fold, list[Clause]] = {}
    for clause in found:
        fold = find_fold(axis, (clause,))
        kinds.setdefault(fold if isinstance(fold, Residues) else Whole(), []).append(clause)
    return [kinds[x] for x in sorted(kinds, key=lambda fold: isinstance(fold, Residues))]


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


def _enumerated(problem: Problem) -> bool:
    """Is it soon known what one attention of boxes visits? Clauses that fold a long sequence unlike
    are not solved together, and few boxes that hold them all visit what lies between."""
    q, k = grid_of(problem.q), grid_of(problem.k)
    return len(q.axes) > 1 or q.size * k.size <= ENUMERATED


def _visited(problem: Problem) -> int | None:
    """Slots of all tiles that heads visit; None where they are no boxes."""
    known = Known({}, parameter_tables(problem))
    classes = head_classes(problem)
    found = box_plan(problem, classes, known, TENSOR_CORES)
    if found is None:
        return None
    return sum(t.visited * len(heads) for t, (_, heads) in zip(found[1], classes, strict=True))
