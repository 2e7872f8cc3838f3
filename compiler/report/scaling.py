"""The same pattern at other lengths: axes scaled together, parameters as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir.expr import Expr, Length
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.problem.steps import rebind, whole_of
from attnlang.compiler.report.dense import keys_at
from attnlang.compiler.report.keys import pairs_of
from attnlang.compiler.report.relation import Relation, relations

SOLVED_TOKENS = 1 << 18
LISTED_TOKENS = 1 << 11
SAMPLED_TOKENS = 1 << 17
"""Tokens of the largest size: where rows are solved, where all pairs are looked at one by one,
and where those of a sample of queries are."""

SAMPLE = 64
"""Queries of a sample, over all classes of heads."""

Lengths: TypeAlias = dict[str, int]
_Mean: TypeAlias = Callable[[tuple[Relation, ...], Problem], "tuple[float, int | None] | None"]


@dataclass(frozen=True, eq=False)
class Counted:
    """One size, the relations of its head classes, and the keys per query on average.

    sample: of how many queries; None when of all.
    """

    sizes: Mapping[str, int]
    problem: Problem
    relations: tuple[Relation, ...]
    mean_keys: float
    sample: int | None


def counted_sizes(problem: Problem, head_dim: int) -> tuple[Counted, ...]:
    """Three sizes, every axis longer from one to the next, exactly counted; empty if none can be.

    Patterns that read run-time tensors are not scaled: nobody knows their longer documents.
    """
    classes = relations(problem)
    if not all(x.evaluable for x in classes):
        return ()
    grid = _grid(problem)
    limits = (SOLVED_TOKENS // len(classes), LISTED_TOKENS)
    candidates = [_doubling(grid, limit) for limit in limits]
    for lengths in (*candidates, *_growing(grid, 4 * limits[0])):
        found = _all(problem, lengths, head_dim, _mean)
        if found:
            return found
    return ()


def representative_sizes(
    problem: Problem, counted: tuple[Counted, ...], head_dim: int
) -> tuple[Counted, ...]:
    """The counted sizes if they are long; otherwise long ones at which queries are sampled.

    What holds of short sequences, where windows cover everything, says little of long ones.
    """
    long = counted and counted[-1].problem.q_len > LISTED_TOKENS
    if long or not all(x.evaluable for x in relations(problem)):
        return counted
    lengths = _doubling(_grid(problem), SAMPLED_TOKENS)
    return _all(problem, lengths, head_dim, _sampled_mean) or counted


def _all(
    problem: Problem, lengths: tuple[Lengths, ...], head_dim: int, mean: _Mean
) -> tuple[Counted, ...]:
    """The counts at all sizes, or none; the largest first, as it is the likeliest to fail."""
    found = [_count(problem, x, head_dim, mean) for x in reversed(lengths)]
    whole = tuple(x for x in reversed(found) if x is not None)
    return whole if len(whole) == len(found) else ()


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
    whole = whole_of(problem)
    q, k = (grid_of(side) for side in (whole.q, whole.k))
    for axis, n in zip(q.axes, q.lengths, strict=True):
        shared = axis in k.axes and k.lengths[k.axes.index(axis)] == n
        lengths[axis if shared else f"q.{axis}"] = n
    for axis, n in zip(k.axes, k.lengths, strict=True):
        if axis not in lengths:
            lengths[f"k.{axis}"] = n
    return lengths


def _follows(size: Expr | None) -> bool:
    """Is the number of a segment's tokens computed from lengths?"""
    return size is not None and any(isinstance(x, Length) for x in walk(size))


def _count(problem: Problem, sizes: Lengths, head_dim: int, mean: _Mean) -> Counted | None:
    whole = whole_of(problem)
    given = (x for x in (*whole.q, *whole.k) if not x.segment.is_grid)
    extras = {x.segment.name: x.size for x in given if not _follows(x.segment.size)}
    try:
        scaled = rebind(problem, {**extras, **sizes}, head_dim)
    except PatternError:  # a requirement that this length does not meet
        return None
    classes = relations(scaled)
    if not all(x.evaluable for x in classes):
        return None
    found = mean(classes, scaled)
    if found is None:
        return None
    keys, sample = found
    return Counted(sizes, scaled, classes, keys, sample)


def _mean(classes: tuple[Relation, ...], problem: Problem) -> tuple[float, int | None] | None:
    """Keys per query over all heads and queries."""
    pairs = 0
    for relation in classes:
        found = pairs_of(relation)
        if found is None:
            return None
        pairs += found * len(relation.heads)
    return pairs / (problem.heads * max(problem.q_len, 1)), None


def _sampled_mean(classes: tuple[Relation, ...], problem: Problem) -> tuple[float, int | None]:
    """The same of queries spread evenly over the grid, each at random within its stretch."""
    grid = grid_of(problem.q)
    count = min(max(SAMPLE // len(classes), 8), grid.size)
    # Even steps alone would beat with the periods of patterns.
    offsets = np.random.default_rng(0).random(count)
    places = ((np.arange(count) + offsets) * grid.size / count).astype(np.int64)
    total = sum(int(keys_at(x, places).sum()) * len(x.heads) for x in classes)
    return total / (problem.heads * count), count
