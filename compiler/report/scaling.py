"""The same pattern at other lengths: axes scaled together, parameters as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.rows import Rows

SOLVED_TOKENS = 1 << 18
LISTED_TOKENS = 1 << 11
"""Tokens of the largest size, where rows are solved and where pairs are looked at one by one."""

Lengths: TypeAlias = dict[str, int]


@dataclass(frozen=True, eq=False)
class Counted:
    """One size, the relations of its head classes, and their rows."""

    sizes: Mapping[str, int]
    problem: Problem
    relations: tuple[Relation, ...]
    rows: tuple[Rows, ...]

    @property
    def mean_keys(self) -> float:
        """Keys per query, over all heads."""
        pairs = sum(r.pairs * len(x.heads) for x, r in zip(self.relations, self.rows, strict=True))
        return pairs / (self.problem.heads * max(self.problem.q_len, 1))


def counted_sizes(problem: Problem, head_dim: int) -> tuple[Counted, ...]:
    """Three sizes, every axis longer from one to the next; empty when none can be counted.

    Patterns that read run-time tensors are not scaled: nobody knows their longer documents.
    """
    classes = relations(problem)
    if not all(x.evaluable for x in classes):
        return ()
    grid = _grid(problem)
    limits = (SOLVED_TOKENS // len(classes), LISTED_TOKENS)
    candidates = [_doubling(grid, limit) for limit in limits]
    for lengths in (*candidates, *_growing(grid, 4 * limits[0])):
        found = [_count(problem, x, head_dim) for x in reversed(lengths)]
        whole = tuple(x for x in reversed(found) if x is not None)
        if len(whole) == len(found):
            return whole
    return ()


def _doubling(given: Lengths, limit: int) -> tuple[Lengths, ...]:
    """Every axis a quarter, a half, and as long as the limit allows, in proportion."""
    top = dict(given)
    while math.prod(2 * n for n in top.values()) <= limit:
        top = {a: 2 * n for a, n in top.items()}
    while math.prod(top.values()) > limit:
        top = {a: -(-n // 2) for a, n in top.items()}
    top = {a: max(4, -(-n // 4) * 4) for a, n in top.items()}
    return tuple({a: n >> shift for a, n in top.items()} for shift in (2, 1, 0))


def _growing(given: Lengths, limit: int) -> Iterator[tuple[Lengths, ...]]:
    """The lengths given and longer ones: for grids that a requirement forbids to be shorter."""
    for shares in ((4, 6, 8), (4, 5, 6)):
        steps = tuple({a: -(-n * share // 4) for a, n in given.items()} for share in shares)
        if math.prod(steps[-1].values()) <= limit:
            yield steps


def _grid(problem: Problem) -> Lengths:
    """Lengths by ``q.n`` or ``k.n``, or ``n`` where both sides have it alike."""
    lengths: Lengths = {}
    q, k = (next(x for x in side if x.segment.is_grid) for side in (problem.q, problem.k))
    for axis, n in zip(q.axes, q.lengths, strict=True):
        shared = axis in k.axes and k.lengths[k.axes.index(axis)] == n
        lengths[axis if shared else f"q.{axis}"] = n
    for axis, n in zip(k.axes, k.lengths, strict=True):
        if axis not in lengths:
            lengths[f"k.{axis}"] = n
    return lengths


def _count(problem: Problem, sizes: Lengths, head_dim: int) -> Counted | None:
    extras = {x.segment.name: x.size for x in (*problem.q, *problem.k) if not x.segment.is_grid}
    try:
        scaled = bind(
            problem.pattern,
            {**extras, **sizes},
            heads=problem.heads,
            kv_heads=problem.kv_heads,
            head_dim=head_dim,
        )
    except PatternError:  # a requirement that this length does not meet
        return None
    classes = relations(scaled)
    rows: list[Rows] = []
    for relation in classes:
        found = rows_of(relation)
        if found is None:
            return None
        rows.append(found)
    return Counted(sizes, scaled, classes, tuple(rows))
