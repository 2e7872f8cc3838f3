"""A relation element by element: any predicate and any score, at sizes where that is cheap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.alike import census
from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.problem.problem import Extent, Problem
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]
CHUNK = 1 << 18
"""Pairs evaluated at once."""


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
            parts = [_values(where, q, k, places, relation.known, None) for where, k in wheres]
            whole = np.concatenate([p.astype(bool) for p in parts], axis=1)
            yield slice(q.start + start, q.start + start + len(places)), whole


def keys_at(relation: Relation, places: IntArray) -> IntArray:
    """How many keys the queries at these places of the grid attend."""
    q = next(x for x in relation.q if x.segment.is_grid)
    counts: IntArray = np.zeros(len(places), dtype=np.int64)
    for k in relation.k:
        where = specialise(relation.where, q.segment, k.segment)
        keys, alike = census(where, k, Side.K, relation.known)
        step = max(1, CHUNK // max(len(keys), 1))
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            attends = _values(where, q, k, places[part], relation.known, None, keys)
            counts[part] += attends.astype(bool) @ alike
    return counts


def values(
    root: Expr, problem: Problem, known: Known, score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A score or sink ``[Nq, Nk]`` where the scaled q.k is ``score``; the head is put in."""
    full = np.zeros((problem.q_len, problem.k_len))
    for q in problem.q:
        for k in problem.k:
            places = np.arange(q.size, dtype=np.int64)
            here = score[q.start : q.stop, k.start : k.stop]
            special = specialise(root, q.segment, k.segment)
            part = _values(special, q, k, places, known, here)
            full[q.start : q.stop, k.start : k.stop] = part
    return full


def _values(
    root: Expr,
    q: Extent,
    k: Extent,
    places: IntArray,
    known: Known,
    score: NDArray[np.float64] | None,
    keys: IntArray | None = None,
) -> NDArray[Any]:
    """On the queries at ``places`` of one segment and keys of another ``[rows, keys]``: all keys,
    or those at the places given. ``root`` is specialised for the two."""
    keys = np.arange(k.size, dtype=np.int64) if keys is None else keys
    at = {Side.Q: places[:, None], Side.K: keys[None, :]}
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
    return np.broadcast_to(found, (len(places), len(keys)))


def coordinate(extent: Extent, axis: str, places: IntArray) -> IntArray:
    """The coordinate on one axis of the tokens at these places of a segment."""
    i = extent.axes.index(axis)
    if len(extent.axes) == 1:
        return places + extent.origin[0]
    inner = math.prod(extent.lengths[i + 1 :])
    return places // inner % extent.lengths[i] + extent.origin[i]
