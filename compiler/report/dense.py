"""A relation element by element: any predicate and any score, at sizes where that is cheap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.alike import census
from attnlang.compiler.analysis.boxes import elsewhere, extremes, truth
from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Range
from attnlang.compiler.layout.tiling import ExtentTiling, contiguous, coordinate, cubic
from attnlang.compiler.problem.problem import Extent, Problem, grid_of
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]
CHUNK = 1 << 18
"""Pairs evaluated at once."""
KEY_TILE = 128
"""Keys that are told together by their bounds."""


def mask(relation: Relation) -> NDArray[np.bool_]:
    """Which pairs attend ``[Nq, Nk]``, in sequence order."""
    full = np.zeros((relation.q_len, relation.k_len), dtype=bool)
    for rows, part in mask_rows(relation):
        full[rows] = part
    return full


def mask_rows(relation: Relation) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """The mask in slices of queries ``[rows, Nk]``; together they are every query once."""
    step = max(1, CHUNK // max(relation.k_len, 1))
    for q in relation.q:
        wheres = [(specialise(relation.where, q.segment, k.segment), k) for k in relation.k]
        for start in range(0, q.size, step):
            places = np.arange(start, min(start + step, q.size), dtype=np.int64)
            parts = [
                _values(where, q, k, places[:, None], np.arange(k.size)[None, :], relation.known)
                for where, k in wheres
            ]
            whole = np.concatenate([p.astype(bool) for p in parts], axis=1)
            yield slice(q.start + start, q.start + start + len(places)), whole


def keys_at(relation: Relation, places: IntArray) -> IntArray:
    """How many keys the queries at these places of the grid attend."""
    q = grid_of(relation.q)
    counts: IntArray = np.zeros(len(places), dtype=np.int64)
    for k in relation.k:
        where = specialise(relation.where, q.segment, k.segment)
        keys, alike = census(where, k, Side.K, relation.known)
        if len(keys) == k.size:
            counts += _keys_by_tile(where, q, k, places, relation.known)
            continue
        step = max(1, CHUNK // max(len(keys), 1))
        for start in range(0, len(places), step):
            some = places[start : start + step]
            attends = _values(where, q, k, some[:, None], keys[None, :], relation.known)
            counts[start : start + step] += attends.astype(bool) @ alike
    return counts


def _keys_by_tile(where: Expr, q: Extent, k: Extent, places: IntArray, known: Known) -> IntArray:
    """The same over a segment of keys that all differ. Tiles of keys of which a query attends all,
    or none, are told by their bounds; the keys of the others are looked at one by one."""
    tiling = ExtentTiling(k, tuple(map(contiguous, k.lengths, cubic(k.lengths, KEY_TILE))))
    strips = np.unravel_index(np.arange(tiling.tiles), tuple(a.strips for a in tiling.axes))

    def leaf(x: Expr) -> Range:
        match x:
            case e.Coord(side=Side.Q, axis=axis):
                here = coordinate(q, axis, places)[:, None]
                return here, here
            case e.Coord(axis=axis):
                i = k.axes.index(axis)
                first = tiling.axes[i].starts[strips[i]] + k.origin[i]
                return first, first + tiling.axes[i].counts[strips[i]] - 1
            case e.Index(side=Side.Q):
                return places[:, None] + q.start, places[:, None] + q.start
            case e.Index():
                first = np.where(tiling.tokens >= 0, tiling.tokens, k.stop).min(axis=1)
                return first, tiling.tokens.max(axis=1)
            case e.TokenInput(side=Side.Q, name=name) if (name, Side.Q) in known.tokens:
                value = known.tokens[name, Side.Q][places][:, None]
                return value, value
            case e.TokenInput(side=Side.K, name=name) if (name, Side.K) in known.tokens:
                return extremes(known.tokens[name, Side.K], tiling)
            case _:
                return elsewhere(x, known)

    may, must = truth(where, leaf, (len(places), tiling.tiles))
    counts: IntArray = must @ tiling.counts
    rows, tiles = np.nonzero(may & ~must)
    step = max(1, CHUNK // tiling.capacity)
    for start in range(0, len(rows), step):
        row, keys = rows[start : start + step], tiling.tokens[tiles[start : start + step]]
        at = np.maximum(keys - k.start, 0)
        attends = _values(where, q, k, places[row][:, None], at, known).astype(bool)
        inside = np.count_nonzero(attends & (keys >= 0), axis=1)
        counts += np.bincount(row, inside, len(counts)).astype(np.int64)
    return counts


def values(
    root: Expr, problem: Problem, known: Known, score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A score or sink ``[Nq, Nk]`` where the scaled q.k is ``score``; the head is put in."""
    full = np.zeros((problem.q_len, problem.k_len))
    for q in problem.q:
        for k in problem.k:
            queries, keys = np.arange(q.size)[:, None], np.arange(k.size)[None, :]
            here = score[q.start : q.stop, k.start : k.stop]
            special = specialise(root, q.segment, k.segment)
            part = _values(special, q, k, queries, keys, known, here)
            full[q.start : q.stop, k.start : k.stop] = part
    return full


def _values(
    root: Expr,
    q: Extent,
    k: Extent,
    queries: IntArray,
    keys: IntArray,
    known: Known,
    score: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """On places of queries of one segment and of keys of another, which broadcast against each
    other. ``root`` is specialised for the two."""
    at = {Side.Q: queries, Side.K: keys}
    extents = {Side.Q: q, Side.K: k}

    def leaf(x: Expr) -> Any:
        match x:
            case e.Coord(side=side, axis=axis):
                return coordinate(extents[side], axis, at[side])
            case e.Index(side=side):
                return at[side] + extents[side].start
            case e.TokenInput(side=side, name=name):
                return known.tokens[name, side][at[side]]
            case e.Table(name=name):
                return read_table(known.tables[name], [evaluate(i, leaf) for i in x.indices])
            case e.Symbol(name=e.SymbolName.SCORE):
                return score
            case _:
                raise AssertionError(f"{x} has no value here")

    found = np.asarray(evaluate(root, leaf))
    return np.broadcast_to(found, np.broadcast_shapes(queries.shape, keys.shape))
