"""Two patterns at one size: which pairs do they treat differently?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.problem.heads import at_head
from attnlang.compiler.problem.problem import BoundAttend, Problem
from attnlang.compiler.report.dense import mask, values
from attnlang.compiler.report.relation import Relation, relations

BoolArray = NDArray[np.bool_]
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Change:
    """One pair: ``added`` where only the second pattern has it."""

    head: int
    query: int
    key: int
    added: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Pairs that only one pattern has, over all heads; what else differs where both attend.

    changes: the first few. clauses: of ``score``, ``scale``, ``sink`` and ``empty``, those that
    give other values, with the heads in which they do.
    """

    pairs: tuple[int, int]
    removed: int
    added: int
    changes: tuple[Change, ...]
    clauses: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def equal(self) -> bool:
        return not (self.removed or self.added or self.clauses)


def compare(a: Problem, b: Problem, known: tuple[Known, Known], first: int = 5) -> Difference:
    """Look at every pair of every head. The sizes and heads of both problems are the same."""
    left, right = relations(a, known[0]), relations(b, known[1])
    masks: dict[tuple[int, int], tuple[BoolArray, BoolArray]] = {}
    totals = [0, 0]
    removed = added = 0
    changes: list[Change] = []
    clauses: dict[str, list[int]] = {}
    for head in range(a.heads):
        x, y = (_of(r, head) for r in (left, right))
        if (id(x), id(y)) not in masks:
            masks[id(x), id(y)] = mask(x), mask(y)
        before, after = masks[id(x), id(y)]
        totals[0] += int(before.sum())
        totals[1] += int(after.sum())
        removed += int((before & ~after).sum())
        added += int((after & ~before).sum())
        for query, key in np.argwhere(before != after)[: first - len(changes)]:
            changes.append(Change(head, int(query), int(key), bool(after[query, key])))
        for clause in _clauses(a, b, head, (x.known, y.known), before & after):
            clauses.setdefault(clause, []).append(head)
    listed = tuple((name, tuple(heads)) for name, heads in clauses.items())
    return Difference((totals[0], totals[1]), removed, added, tuple(changes), listed)


def _of(found: tuple[Relation, ...], head: int) -> Relation:
    return next(r for r in found if head in r.heads)


def _clauses(
    a: Problem, b: Problem, head: int, known: tuple[Known, Known], both: BoolArray
) -> list[str]:
    """The clauses that differ for one head, by their values on the pairs that both attend."""
    x, y = _attend(a, head), _attend(b, head)
    score = np.random.default_rng(0).normal(size=both.shape)
    rows = np.broadcast_to(both.any(axis=1, keepdims=True), both.shape)
    found = []
    for name, default, where in (("score", score, both), ("sink", None, rows)):
        one, two = (getattr(side, name) for side in (x, y))
        if one == two:
            continue
        if (one is None or two is None) and default is None:
            found.append(name)
            continue
        sides = (
            default if c is None else values(at_head(c, head, p), p, k, score)
            for c, p, k in zip((one, two), (a, b), known, strict=True)
        )
        u, v = sides
        assert u is not None
        assert v is not None
        if not np.allclose(u[where], v[where], rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            found.append(name)
    if _number(x.scale, a, head) != _number(y.scale, b, head):
        found.append("scale")
    if x.empty != y.empty and not both.any(axis=1).all():
        found.append("empty")
    return found


def _attend(problem: Problem, head: int) -> BoundAttend:
    return next(g.attend for g in problem.groups if g.start <= head < g.stop)


def _number(scale: Expr | None, problem: Problem, head: int) -> object:
    """The scale of one head: a number, or the expression where tensors decide it."""
    if scale is None:
        return None
    at = at_head(scale, head, problem)
    found = value_of(at)
    return at if found is None else found


def unread(problem: Problem, given: Mapping[str, object]) -> tuple[str, ...]:
    """Inputs that a score or sink reads and that are not given: those clauses cannot be compared."""
    names: set[str] = set()
    for group in problem.groups:
        for clause in (group.attend.score, group.attend.sink):
            if clause is not None:
                names |= {x.name for x in _leaves(clause) if x.name not in given}
    return tuple(sorted(names & {i.name for i in problem.pattern.inputs}))


def _leaves(root: Expr) -> list[e.TokenInput | e.Table]:
    from attnlang.compiler.ir.traverse import walk

    return [x for x in walk(root) if isinstance(x, e.TokenInput | e.Table)]
