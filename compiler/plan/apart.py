"""Layouts of their own for heads that fold in ways of their own.

One layout cuts the queries once, for all heads, and folds only what every class of heads implies.
Where heads attend with unlike dilations, or some along rows and others along columns, nothing is
left to fold.
"""

from __future__ import annotations

from typing import TypeAlias

from attnlang.compiler.analysis.normal import Clause, clauses
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.folds import Blocks, Fold, Whole, find_fold
from attnlang.compiler.plan.box_plan import Classes
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.sema.segments import specialise

Folds: TypeAlias = tuple[Fold, ...]


def apart(problem: Problem, classes: Classes) -> tuple[Classes, ...]:
    """The classes of heads that share a layout: all, unless some fold more without others."""
    kinds: dict[Folds, list[tuple[Expr, tuple[int, ...]]]] = {}
    shared: list[Clause] = []
    for where, heads in classes if len(classes) > 1 else ():
        found = _union(where, problem)
        kinds.setdefault(_folds(found, problem), []).append((where, heads))
        shared.extend(found or ((),))
    joint = _folds(tuple(shared), problem)
    if len(kinds) < 2 or not any(_finer(own, joint) for own in kinds):
        return (classes,)
    return tuple(tuple(own) for own in kinds.values())


def _union(where: Expr, problem: Problem) -> tuple[Clause, ...] | None:
    q, k = grid_of(problem.q), grid_of(problem.k)
    return clauses(specialise(where, q.segment, k.segment))


def _folds(found: tuple[Clause, ...] | None, problem: Problem) -> Folds:
    axes = problem.pattern.q_axes
    if not found or axes != problem.pattern.k_axes:
        return tuple(Whole() for _ in axes)
    return tuple(find_fold(a, found) for a in axes)


def _finer(own: Folds, joint: Folds) -> bool:
    """Do these folds save what the joint ones visit? Blocks of a sequence do not: its strips read
    the keys of their block and no others, folded or not."""
    return any(
        b == Whole() and a != Whole() and (len(own) > 1 or not isinstance(a, Blocks))
        for a, b in zip(own, joint, strict=True)
    )
