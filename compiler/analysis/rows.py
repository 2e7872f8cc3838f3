"""Long sequences: for each query an interval of keys, for each query tile a few runs of key tiles.

A clause whose literals solve to ``a(q) <= k < b(q)`` is evaluated once per query, or only at the
ends of each query tile when its bounds are proved monotone and neighbouring rows proved to
touch. Nothing of size N^2, or of size (N / block)^2, is ever made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.monotone import corners_suffice
from attnlang.compiler.analysis.normal import Clause, clauses, complement
from attnlang.compiler.analysis.solve import Congruent, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.analysis.sorted_keys import SortedEdge, sorted_edges
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals as Ranges
from attnlang.compiler.ir.intervals import Range
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.plan.table import RunTable, from_intervals
from attnlang.compiler.problem.bind import LARGEST, PYTHON
from attnlang.compiler.syntax.limits import MAX_INTEGER

IntArray = NDArray[np.int64]
Intervals: TypeAlias = tuple[IntArray, IntArray]
"""Starts and stops ``[query tiles, intervals]``."""


@dataclass(slots=True)
class ClauseBounds:
    """What a clause says of a query's keys.

    corners: do a tile's first and last query say all about the keys of its others?
    """

    lowers: list[Expr | SortedEdge] = field(default_factory=list)
    uppers: list[Expr | SortedEdge] = field(default_factory=list)
    conditions: list[Expr] = field(default_factory=list)
    corners: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """table: every tile that may be live, full only where proved. exact: is it the truth?"""

    table: RunTable
    exact: bool


def classify_rows(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> Rows | None:
    """The tiles of two 1-D segments; None when their tiles are not consecutive tokens.

    Literals that give no interval of keys are left out of their clause, in the predicate and in
    its complement alike: more tiles are visited and fewer are full, none is missed.
    """
    if not (q.axes[0].contiguous and k.axes[0].contiguous):
        return None
    predicate = _by_coordinate(predicate, q, k)
    live, live_exact = _union(clauses(predicate), q, k, known)
    broken, broken_exact = _union(clauses(complement(predicate)), q, k, known)
    return Rows(from_intervals(live, broken, k.tiles), live_exact and broken_exact)


def _by_coordinate(predicate: Expr, q: ExtentTiling, k: ExtentTiling) -> Expr:
    """Places in the sequence as coordinates: in a segment with one axis they differ by a number."""

    def rule(x: Expr) -> Expr | None:
        if not isinstance(x, e.Index):
            return None
        extent = (q if x.side is Side.Q else k).extent
        here = e.Coord(x.side, extent.axes[0])
        return simplify(e.Arith("+", here, e.Int(extent.start - extent.origin[0])))

    return rewrite(predicate, rule)


def strip_reach(
    bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known
) -> AxisReach | None:
    """The keys that each strip of queries needs under one clause, to the single key.

    None when a strip's keys have gaps.
    """
    starts, stops = _tile_intervals(bounds, q, k, 1, known)
    if starts.shape[1] != 1:
        return None
    axis = q.axes[0]
    if bounds.corners:
        begin = axis.starts + q.extent.origin[0]
        first_stop, last_start = begin, begin + axis.counts - 1
        last_start, first_stop = _edges(bounds, q, k, known, last_start, first_stop)
    else:
        low, high = _row_edges(bounds, q, k, known)
        last_start = np.maximum.reduceat(low, axis.offsets)
        first_stop = np.minimum.reduceat(high, axis.offsets)
    start, stop = starts[:, 0], stops[:, 0]
    full_start = np.maximum(last_start, start)
    full = np.maximum(np.minimum(first_stop, stop) - full_start, 0)

    def count() -> int:
        low, high = _row_edges(bounds, q, k, known)
        return int(np.maximum(high - low, 0).sum())

    return AxisReach(start, 1, stop - start, np.where(full > 0, full_start - start, 0), full, count)


def _union(
    found: tuple[Clause, ...] | None, q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[Intervals, bool]:
    """Intervals of key tiles on which some clause may hold, and whether all of them do."""
    exact = found is not None
    starts = [np.zeros((q.tiles, 0), dtype=np.int64)]
    stops = [np.zeros((q.tiles, 0), dtype=np.int64)]
    for clause in ((),) if found is None else found:
        solvable = tuple(x for x in clause if clause_bounds((x,), q, k, known) is not None)
        exact = exact and len(solvable) == len(clause)
        bounds = clause_bounds(solvable, q, k, known)
        assert bounds is not None
        intervals = _tile_intervals(bounds, q, k, k.axes[0].size, known)
        starts.append(intervals[0])
        stops.append(intervals[1])
    return (np.concatenate(starts, axis=1), np.concatenate(stops, axis=1)), exact


def clause_bounds(
    clause: Clause, q: ExtentTiling, k: ExtentTiling, known: Known
) -> ClauseBounds | None:
    """A clause solved for the key; None where a literal is no bound on it."""
    made = ClauseBounds()
    for literal in clause:
        if not known.covers(literal):
            return None
        edges = sorted_edges(literal, q, k, known)
        if edges is not None:
            made.lowers.extend(edges[0])
            made.uppers.extend(edges[1])
            continue
        for fact in solve(literal):
            match fact:
                case Lower(bound=bound) | Upper(bound=bound) if not _fits(bound, q):
                    return None
                case Lower(bound=bound):
                    made.lowers.append(bound)
                case Upper(bound=bound):
                    made.uppers.append(bound)
                case RowOnly(condition=condition):
                    made.conditions.append(condition)
                case Congruent() | Opaque():
                    return None
    lower = [b.stand_in if isinstance(b, SortedEdge) else b for b in made.lowers]
    upper = [b.stand_in if isinstance(b, SortedEdge) else b for b in made.uppers]
    made.corners = not made.conditions and corners_suffice(lower, upper, q, k)
    return made


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


def _tile_intervals(
    bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, size: int, known: Known
) -> Intervals:
    """Intervals ``[query tiles, intervals]`` of key tiles of ``size`` that the bounds reach."""
    axis = q.axes[0]
    if bounds.corners:
        begin = axis.starts + q.extent.origin[0]
        low, high = _edges(bounds, q, k, known, begin, begin + axis.counts - 1)
        starts = low // size
        return starts[:, None], np.where(high > low, -(-high // size), starts)[:, None]
    low, high = _row_edges(bounds, q, k, known)
    return _join_rows(low, high, q, size)


def _edges(
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


def _row_edges(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Intervals:
    """The key interval of every query ``[queries]``."""
    positions = np.arange(q.extent.size, dtype=np.int64) + q.extent.origin[0]
    low, high = _edges(bounds, q, k, known, positions, positions)
    for condition in bounds.conditions:
        high = np.where(np.asarray(_at(condition, positions, q, known)).astype(bool), high, low)
    return low, high


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


def _join_rows(low: IntArray, high: IntArray, q: ExtentTiling, size: int) -> Intervals:
    """Per-query key intervals -> per-tile intervals of key tiles, joined where they touch."""
    width, tiles = q.axes[0].size, q.axes[0].strips
    pad = tiles * width - len(low)
    solid = np.pad(high > low, (0, pad)).reshape(tiles, width)
    far = np.iinfo(np.int64).max
    first = np.where(solid, np.pad(low // size, (0, pad)).reshape(tiles, width), far)
    stop = np.where(solid, np.pad(-(-high // size), (0, pad)).reshape(tiles, width), -1)
    order = np.argsort(first, axis=1, kind="stable")
    f, s = np.take_along_axis(first, order, axis=1), np.take_along_axis(stop, order, axis=1)
    reach = np.maximum.accumulate(s, axis=1)
    # In order of start, a row beyond everything before it leaves a gap.
    gap = (f[:, 1:] > reach[:, :-1]) & (s[:, 1:] >= 0)
    if gap.any():
        empty = f == far
        return np.where(empty, 0, f), np.where(empty, 0, s)
    none = reach[:, -1] < 0
    return np.where(none, 0, f[:, 0])[:, None], np.where(none, 0, reach[:, -1])[:, None]
