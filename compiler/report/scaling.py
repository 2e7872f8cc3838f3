"""The same pattern at other lengths: axes scaled together, parameters as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.rows import Rows

SOLVED_TOKENS = 1 << 18
LISTED_TOKENS = 1 << 11
"""Tokens of the largest size, where rows are solved and where pairs are looked at one by one."""


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
    """Three sizes, each axis twice as long as in the one before; empty when none can be counted.

    Patterns that read run-time tensors are not scaled: nobody knows their longer documents.
    """
    classes = relations(problem)
    if not all(x.evaluable for x in classes):
        return ()
    for limit in (SOLVED_TOKENS // len(classes), LISTED_TOKENS):
        for lengths in _tops(problem, limit):
            found = [_count(problem, lengths, shift, head_dim) for shift in (2, 1, 0)]
            whole = tuple(x for x in found if x is not None)
            if len(whole) == len(found):
                return whole
    return ()


def _tops(problem: Problem, limit: int) -> Iterator[dict[str, int]]:
    """Grid lengths of the largest size, multiples of 4, as long as the limit allows.

    The second and last candidate is twice as long, for patterns that demand it.
    """
    grid = {**_grid(problem)}
    while math.prod(2 * n for n in grid.values()) <= limit:
        grid = {a: 2 * n for a, n in grid.items()}
    while math.prod(grid.values()) > limit:
        grid = {a: -(-n // 2) for a, n in grid.items()}
    grid = {a: max(4, -(-n // 4) * 4) for a, n in grid.items()}
    yield grid
    yield {a: 2 * n for a, n in grid.items()}


def _grid(problem: Problem) -> dict[str, int]:
    """Lengths by ``q.n`` or ``k.n``, or ``n`` where both sides have it alike."""
    lengths: dict[str, int] = {}
    q, k = (next(x for x in side if x.segment.is_grid) for side in (problem.q, problem.k))
    for axis, n in zip(q.axes, q.lengths, strict=True):
        shared = axis in k.axes and k.lengths[k.axes.index(axis)] == n
        lengths[axis if shared else f"q.{axis}"] = n
    for axis, n in zip(k.axes, k.lengths, strict=True):
        if axis not in lengths:
            lengths[f"k.{axis}"] = n
    return lengths


def _count(
    problem: Problem, lengths: Mapping[str, int], shift: int, head_dim: int
) -> Counted | None:
    sizes = {a: n >> shift for a, n in lengths.items()}
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
