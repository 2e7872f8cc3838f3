"""A clause solved for the key: for each query an interval of keys, and which keys count in it.

Literals over the pair become bounds ``a(q) <= k < b(q)``. Literals over the key alone that are no
bound (``k.n // 64 % 8 == 0``, flags of tokens) become a set of keys, made once and shared by all
queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.key_sets import KeySet, key_set
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.monotone import corners_suffice
from attnlang.compiler.analysis.normal import Clause, reads
from attnlang.compiler.analysis.solve import (
    Congruent,
    Fact,
    Lower,
    Opaque,
    RowOnly,
    Upper,
    solve,
)
from attnlang.compiler.analysis.sorted_keys import SortedEdge, sorted_edges
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals as Ranges
from attnlang.compiler.ir.intervals import Range
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.bind import LARGEST, PYTHON
from attnlang.compiler.syntax.limits import MAX_INTEGER

IntArray = NDArray[np.int64]
Intervals: TypeAlias = tuple[IntArray, IntArray]
"""Starts and stops, as key places in their segment."""
SLICE = 1 << 15
"""Queries at once: what is made of them stays in a processor's cache."""


@dataclass(slots=True)
class ClauseBounds:
    """What a clause says of a query's keys.

    conditions: on the query. keys: the set of keys it allows, None when all.
    corners: do a tile's first and last query say all about the keys of its others?
    """

    lowers: list[Expr | SortedEdge] = field(default_factory=list)
    uppers: list[Expr | SortedEdge] = field(default_factory=list)
    conditions: list[Expr] = field(default_factory=list)
    keys: KeySet | None = None
    corners: bool = False


def clause_bounds(
    clause: Clause, q: ExtentTiling, k: ExtentTiling, known: Known
) -> ClauseBounds | None:
    """A clause solved for the key; None where a literal is no bound on it."""
    made = ClauseBounds()
    on_keys: list[Expr] = []
    for literal in clause:
        if not known.covers(literal):
            return None
        edges = sorted_edges(literal, q, k, known)
        if edges is not None:
            made.lowers.extend(edges[0])
            made.uppers.extend(edges[1])
            continue
        facts = solve(literal)
        if not all(_usable(fact, q) for fact in facts):
            if reads(literal, Side.Q):
                return None
            on_keys.append(literal)
            continue
        for fact in facts:
            match fact:
                case Lower(bound=bound):
                    made.lowers.append(bound)
                case Upper(bound=bound):
                    made.uppers.append(bound)
                case RowOnly(condition=condition):
                    made.conditions.append(condition)
                case Congruent() | Opaque():
                    raise AssertionError("not usable")
    lower = [b.stand_in if isinstance(b, SortedEdge) else b for b in made.lowers]
    upper = [b.stand_in if isinstance(b, SortedEdge) else b for b in made.uppers]
    made.corners = not made.conditions and corners_suffice(lower, upper, q, k)
    if on_keys:
        made.keys = key_set(on_keys, k.extent, known)
    return made


def solvable(literal: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> bool:
    """Is a literal a bound on the key, or a condition on one of the two?"""
    if not known.covers(literal):
        return False
    if sorted_edges(literal, q, k, known) is not None or not reads(literal, Side.Q):
        return True
    return all(_usable(fact, q) for fact in solve(literal))


def _usable(fact: Fact, q: ExtentTiling) -> bool:
    match fact:
        case Lower(bound=bound) | Upper(bound=bound):
            return _fits(bound, q)
        case RowOnly():
            return True
        case Congruent() | Opaque():
            return False


def _fits(bound: Expr, q: ExtentTiling) -> bool:
    """Is every part of a bound proved to fit 64 bits? Solving multiplies by divisors."""
    fits = True

    def watch(_: Expr, found: Range) -> None:
        nonlocal fits
        fits = fits and bool(abs(found[0]) <= LARGEST and abs(found[1]) <= LARGEST)

    def leaf(x: Expr) -> Range:
        if isinstance(x, e.Coord):
            first = q.extent.origin[0]
            return first, first + q.extent.size - 1
        return -MAX_INTEGER, MAX_INTEGER

    Ranges(PYTHON, leaf, watch).of(bound)
    return fits


def edges(
    bounds: ClauseBounds,
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
    at_low: IntArray,
    at_high: IntArray,
) -> Intervals:
    """Lower bounds of the queries at ``at_low``, upper ones at ``at_high``, as key places."""
    origin = k.extent.origin[0]
    low = _extreme(np.maximum, bounds.lowers, at_low, q, known, origin)
    high = _extreme(np.minimum, bounds.uppers, at_high, q, known, origin + k.extent.size)
    return low - origin, high - origin


def row_edges(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Intervals:
    """The key interval of every query ``[queries]``, cut to keys that count."""
    lows, highs = (np.empty(q.extent.size, dtype=np.int64) for _ in range(2))
    for part, low, high in sliced_edges(bounds, q, k, known):
        lows[part], highs[part] = low, high
    return lows, highs


def sliced_edges(
    bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known
) -> Iterator[tuple[slice, IntArray, IntArray]]:
    """The same for some queries after another."""
    for start in range(0, q.extent.size, SLICE):
        part = slice(start, min(start + SLICE, q.extent.size))
        positions = np.arange(part.start, part.stop, dtype=np.int64) + q.extent.origin[0]
        low, high = edges(bounds, q, k, known, positions, positions)
        for condition in bounds.conditions:
            high = np.where(np.asarray(_at(condition, positions, q, known)).astype(bool), high, low)
        if bounds.keys is not None:
            low, high = bounds.keys.shrink(low, high)
        yield part, low, high


def _extreme(
    join: Callable[..., Any],
    bounds: list[Expr | SortedEdge],
    at: IntArray,
    q: ExtentTiling,
    known: Known,
    start: int,
) -> IntArray:
    value: IntArray = np.full(at.shape, start, dtype=np.int64)
    for bound in bounds:
        value = join(value, _at(bound, at, q, known))
    return value


def _at(x: Expr | SortedEdge, positions: IntArray, q: ExtentTiling, known: Known) -> Any:
    """The value of a bound for the queries at ``positions``."""
    if isinstance(x, SortedEdge):
        return x.at(positions - q.extent.origin[0])

    def tokens(node: e.TokenInput) -> Any:
        return known.tokens[node.name, node.side][positions - q.extent.origin[0]]

    return evaluate(x, axis_leaf({q.extent.axes[0]: positions}, {}, tokens, known))
