"""Relation -> rows: the keys of every query, by the cheapest exact way there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.visit import masks_of
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.dense import mask_rows
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.rows import ELEMENTS, Rows, below, beside, of_mask
from attnlang.compiler.report.solved import Solved, solved
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]
VISITS = 1 << 21
"""Visited tiles that are listed one by one, at most."""


def rows_of(relation: Relation) -> Rows | None:
    """The rows of a relation; None when counting them would take too long.

    Not exact, but an upper bound, where run-time tensors are not known.
    """
    if relation.q_len == 0 or relation.k_len == 0:
        none = np.zeros(relation.q_len, dtype=np.int64)
        return Rows(none, none + relation.k_len, none - 1)
    found = solved_rows_of(relation)
    if found is not None:
        return found
    if not _listed(relation):
        return None
    return below(of_mask(part) for _, part in mask_rows(relation))


def pairs_of(relation: Relation) -> int | None:
    """The pairs of all rows, in less time than the rows."""
    if relation.q_len == 0 or relation.k_len == 0:
        return 0
    found = solved_pairs_of(relation)
    if found is not None or not _listed(relation):
        return found
    return sum(int(np.count_nonzero(part)) for _, part in mask_rows(relation))


def last_of(relation: Relation) -> tuple[IntArray, bool] | None:
    """The last key of every row, -1 where there is none, in less time than the rows, and whether
    they are exact."""
    parts = _solved_parts(relation) if relation.q_len and relation.k_len else None
    if parts is None:
        rows = rows_of(relation)
        return None if rows is None else (rows.last, rows.exact)
    last = [np.maximum.reduce([x.last() for x in row]) for row in parts]
    return np.concatenate(last), all(x.exact for row in parts for x in row)


def _listed(relation: Relation) -> bool:
    """May its pairs be looked at one by one?"""
    return relation.evaluable and relation.q_len * relation.k_len <= ELEMENTS


def solved_rows_of(relation: Relation) -> Rows | None:
    """The rows in closed form; None when some literal of the predicate resists."""
    parts = _solved_parts(relation)
    if parts is None:
        return None
    return below(beside(_of_all(x.rows(), x.k, relation.k_len) for x in row) for row in parts)


def solved_pairs_of(relation: Relation) -> int | None:
    """The pairs of all rows in closed form; None when some literal of the predicate resists."""
    parts = _solved_parts(relation)
    return None if parts is None else sum(x.pairs() for row in parts for x in row)


def _solved_parts(relation: Relation) -> list[list[Solved]] | None:
    """For every segment of queries, its keys in every segment of keys."""
    parts: list[list[Solved]] = []
    for q in relation.q:
        row = []
        for k in relation.k:
            predicate = specialise(relation.where, q.segment, k.segment)
            found = solved(predicate, q, k, relation.known)
            if found is None:
                return None
            row.append(found)
        parts.append(row)
    return parts


def _of_all(rows: Rows, k: Extent, k_len: int) -> Rows:
    """Inside a segment a row without keys points just past it; the whole sequence has one end."""
    if k.stop == k_len:
        return rows
    return replace(rows, first=np.where(rows.keys > 0, rows.first, k_len))


def tiled_rows(plan: Plan, group: HeadPlan) -> Rows | None:
    """Rows from the tiles of a plan: full ones by extent, partial ones element by element.

    None when tensors are missing or there are too many tiles to look at.
    """
    tiles = group.table.tiles()
    if not plan.known.covers(group.where) or group.table.live > VISITS:
        return None
    if tiles["partial"] * group.layout.area > ELEMENTS:
        return None
    q, k = group.layout.q, group.layout.k
    end = plan.problem.k_len
    rows, columns, full = group.table.entries()
    keys = np.zeros((q.tiles, q.capacity), dtype=np.int64)
    first = np.full((q.tiles, q.capacity), end, dtype=np.int64)
    last = np.full((q.tiles, q.capacity), -1, dtype=np.int64)
    lows, highs = np.where(k.tokens >= 0, k.tokens, end).min(axis=1), k.tokens.max(axis=1)
    np.add.at(keys, rows[full], k.counts[columns[full], None])
    np.minimum.at(first, rows[full], lows[columns[full], None])
    np.maximum.at(last, rows[full], highs[columns[full], None])
    for r, c, mask in masks_of(plan, group, rows[~full], columns[~full]):
        places = k.tokens[c][:, None, :]
        np.add.at(keys, r, mask.sum(axis=2))
        np.minimum.at(first, r, np.where(mask, places, end).min(axis=2))
        np.maximum.at(last, r, np.where(mask, places, -1).max(axis=2))
    real = q.tokens >= 0
    order = np.argsort(q.tokens[real])
    return Rows(keys[real][order], first[real][order], last[real][order])
