"""Long sequences: for each query an interval of keys, for each query tile a few runs of key tiles.

A clause solved for the key (:mod:`key_intervals`) is evaluated once per query, or only at the
ends of each query tile when its bounds are proved monotone and neighbouring rows proved to
touch. Nothing of size N^2 is ever made, and of size (N / block)^2 only what is visited.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.key_intervals import (
    ClauseBounds,
    clause_bounds,
    edges,
    sliced_edges,
    solvable,
)
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause, clauses, complement
from attnlang.compiler.analysis.periods import unwrapped
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.plan.table import Runs, RunTable, from_runs

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """table: every tile that may be live, full only where proved. exact: is it the truth?
    partial: runs of those of its tiles that are proved to be partial; all such if it is exact."""

    table: RunTable
    exact: bool
    partial: Runs


def classify_rows(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> Rows | None:
    """The tiles of two 1-D segments; None when their tiles are not consecutive tokens.

    Literals that give no interval of keys are left out of their clause, in the predicate and in
    its complement alike: more tiles are visited and fewer are full, none is missed.
    """
    if not (q.axes[0].contiguous and k.axes[0].contiguous):
        return None
    predicate = by_coordinate(predicate, q, k)
    live = _union(clauses(predicate), q, k, known)
    broken = _union(clauses(complement(predicate)), q, k, known)
    table = from_runs([r for r, _ in live], [r for r, _ in broken], q.tiles, k.tiles)
    if all(sure for _, sure in (*live, *broken)):
        return Rows(table, True, table.runs(~table.full))
    # Where a clause that is solved in full has a run, it holds somewhere on every tile of it.
    holds, fails = ([r for r, sure in runs if sure] for runs in (live, broken))
    both = from_runs(holds, fails, q.tiles, k.tiles)
    return Rows(table, False, both.runs(~both.full))


def solves(predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known) -> bool:
    """Do both the predicate and its complement fall into intervals of keys?"""
    predicate = by_coordinate(predicate, q, k)
    unions = clauses(predicate), clauses(complement(predicate))
    return all(
        union is not None and all(solvable(x, q, k, known) for clause in union for x in clause)
        for union in unions
    )


def by_coordinate(predicate: Expr, q: ExtentTiling, k: ExtentTiling) -> Expr:
    """Places in the sequence as coordinates: in a segment with one axis they differ by a number."""

    def rule(x: Expr) -> Expr | None:
        if not isinstance(x, e.Index):
            return None
        extent = (q if x.side is Side.Q else k).extent
        here = e.Coord(x.side, extent.axes[0])
        return simplify(e.Arith("+", here, e.Int(extent.start - extent.origin[0])))

    return rewrite(predicate, rule)


def _union(
    found: tuple[Clause, ...] | None, q: ExtentTiling, k: ExtentTiling, known: Known
) -> list[tuple[Runs, bool]]:
    """Runs of key tiles on which each clause may hold, and whether it holds on all of them."""
    if found is None:
        return [(_tile_runs(ClauseBounds(corners=True), q, k, known), False)]
    runs = []
    for clause in unwrapped(found, q, k):
        bounds = clause_bounds(clause, q, k, known)
        exact = bounds is not None
        if bounds is None:
            solvable = tuple(x for x in clause if clause_bounds((x,), q, k, known) is not None)
            bounds = clause_bounds(solvable, q, k, known)
        assert bounds is not None
        runs.append((_tile_runs(bounds, q, k, known), exact))
    return runs


def _tile_runs(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Runs:
    """The key tiles that each query tile reaches. They may overlap, and come in no order."""
    axis, size = q.axes[0], k.axes[0].size
    if bounds.corners:
        begin = axis.starts + q.extent.origin[0]
        low, high = edges(bounds, q, k, known, begin, begin + axis.counts - 1)
        if bounds.keys is not None:
            low, high = bounds.keys.shrink(low, high)
        found = _runs(np.arange(axis.strips, dtype=np.int64), low, high, size)
    else:
        found = _of_queries(bounds, q, k, known)
    # A shrunken interval begins and ends in tiles with a key that counts: the others are asked.
    return found if bounds.keys is None else _cut(found, bounds.keys.tiles(size))


def _runs(rows: IntArray, low: IntArray, high: IntArray, size: int) -> Runs:
    """Intervals of keys as runs of tiles, without empty ones."""
    solid = high > low
    if not solid.all():
        rows, low, high = rows[solid], low[solid], high[solid]
    return rows, low // size, -(-high // size)


def _of_queries(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Runs:
    """The runs of every query, without those that neighbours have too."""
    none = np.zeros(0, dtype=np.int64)
    parts: list[Runs] = [(none, none, none)]
    for part, low, high in sliced_edges(bounds, q, k, known):
        rows = np.arange(part.start, part.stop, dtype=np.int64) // q.axes[0].size
        parts.append(_distinct(*_runs(rows, low, high, k.axes[0].size)))
    rows, starts, stops = (np.concatenate(x) for x in zip(*parts, strict=True))
    return rows, starts, stops


def _distinct(rows: IntArray, starts: IntArray, stops: IntArray) -> Runs:
    """Without runs that repeat the one before, as those of neighbouring queries do."""
    if not len(rows):
        return rows, starts, stops
    new = np.zeros(len(rows), dtype=bool)
    new[0] = True
    for x in (rows, starts, stops):
        new[1:] |= x[1:] != x[:-1]
    return rows[new], starts[new], stops[new]


def _cut(runs: Runs, allowed: NDArray[np.bool_]) -> Runs:
    """The parts of runs that lie in allowed columns."""
    edge = np.diff(np.concatenate(([False], allowed, [False])).astype(np.int8))
    begin, end = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    rows, starts, stops = runs
    first = np.searchsorted(end, starts, "right")
    pieces = np.maximum(np.searchsorted(begin, stops, "left") - first, 0)
    which = np.repeat(np.arange(len(rows)), pieces)
    piece = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + first[which]
    return (
        rows[which],
        np.maximum(begin[piece], starts[which]),
        np.minimum(end[piece], stops[which]),
    )
