"""Two patterns at one size: which pairs do they treat differently?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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

    batch: int
    head: int
    query: int
    key: int
    added: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """pairs: of each pattern. removed, added: those that only the first, only the second has.

    changes: the first few of them. clauses: of ``score``, ``sink``, ``scale`` and ``empty``,
    those that give other values where both attend, with the heads in which they do.
    """

    pairs: tuple[int, int]
    removed: int
    added: int
    changes: tuple[Change, ...]
    clauses: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def equal(self) -> bool:
        return not (self.removed or self.added or self.clauses)


@dataclass(slots=True)
class _Tally:
    """What was found so far."""

    first: int
    pairs: list[int] = field(default_factory=lambda: [0, 0])
    removed: int = 0
    added: int = 0
    changes: list[Change] = field(default_factory=list)
    clauses: dict[str, dict[int, None]] = field(default_factory=dict)

    def count(self, batch: int, head: int, before: BoolArray, after: BoolArray) -> None:
        self.pairs[0] += int(before.sum())
        self.pairs[1] += int(after.sum())
        self.removed += int((before & ~after).sum())
        self.added += int((after & ~before).sum())
        for q, k in np.argwhere(before != after)[: self.first - len(self.changes)]:
            self.changes.append(Change(batch, head, int(q), int(k), bool(after[q, k])))

    def done(self) -> Difference:
        clauses = tuple((name, tuple(heads)) for name, heads in self.clauses.items())
        pairs = (self.pairs[0], self.pairs[1])
        return Difference(pairs, self.removed, self.added, tuple(self.changes), clauses)


def compare(
    a: Problem, b: Problem, known: Sequence[tuple[Known, Known]], first: int = 5
) -> Difference:
    """Look at every pair of every head, for each batch element of the run-time tensors.

    Both problems have the same sizes and heads, and every tensor that decides which pairs
    attend is known.
    """
    tally = _Tally(first)
    for batch, (of_a, of_b) in enumerate(known):
        left, right = relations(a, of_a), relations(b, of_b)
        masks: dict[tuple[int, int], tuple[BoolArray, BoolArray]] = {}
        for head in range(a.heads):
            x, y = _of(left, head), _of(right, head)
            if (id(x), id(y)) not in masks:
                masks[id(x), id(y)] = mask(x), mask(y)
            before, after = masks[id(x), id(y)]
            tally.count(batch, head, before, after)
            for clause in _clauses(a, b, head, (x.known, y.known), before & after):
                tally.clauses.setdefault(clause, {})[head] = None
    return tally.done()


def _of(found: tuple[Relation, ...], head: int) -> Relation:
    return next(r for r in found if head in r.heads)


def _clauses(
    a: Problem, b: Problem, head: int, known: tuple[Known, Known], both: BoolArray
) -> list[str]:
    """The clauses that differ for one head, by their values on the pairs that both attend.

    Where tensors that they read are not known, clauses that are not the same expression count
    as different.
    """
    x, y = _attend(a, head), _attend(b, head)
    score = np.random.default_rng(0).normal(size=both.shape)
    rows = np.broadcast_to(both.any(axis=1, keepdims=True), both.shape)
    plain: Expr = e.Symbol(e.SymbolName.SCORE)
    found = []
    sides = list(zip((a, b), known, strict=True))
    for name, one, two, where in (
        ("score", x.score or plain, y.score or plain, both),
        ("sink", x.sink, y.sink, rows),
    ):
        if one == two:
            continue
        clauses = [at_head(c, head, p) for c, (p, _) in zip((one, two), sides, strict=True) if c]
        covered = all(k.covers(c) for c, (_, k) in zip(clauses, sides, strict=False))
        if len(clauses) < 2 or not covered:
            found.append(name)
            continue
        u, v = (values(c, p, k, score) for c, (p, k) in zip(clauses, sides, strict=True))
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
