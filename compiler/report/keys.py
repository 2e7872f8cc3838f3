"""Relation -> rows: the keys of every query, by the cheapest exact way there is."""

from __future__ import annotations

import numpy as np

from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.visit import masks_of
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.dense import mask_rows
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.rows import ELEMENTS, Rows, below, beside, of_mask
from attnlang.compiler.report.solved import solved_rows
from attnlang.compiler.sema.segments import specialise

VISITS = 1 << 21
"""Visited tiles that are listed one by one, at most."""


def rows_of(relation: Relation) -> Rows | None:
    """The rows of a relation; None when counting them would take too long.

    Not exact, but an upper bound, where run-time tensors are not known.
    """
    if relation.q_len == 0 or relation.k_len == 0:
        none = np.zeros(relation.q_len, dtype=np.int64)
        return Rows(none, none + relation.k_len, none - 1)
    solved = solved_rows_of(relation)
    if solved is not None:
        return solved
    if not relation.evaluable or relation.q_len * relation.k_len > ELEMENTS:
        return None
    return below(of_mask(part) for _, part in mask_rows(relation))


def solved_rows_of(relation: Relation) -> Rows | None:
    """The rows in closed form; None when some literal of the predicate resists."""
    parts: list[Rows] = []
    for q in relation.q:
        found = [_solved_pair(relation, q, k) for k in relation.k]
        solved = [x for x in found if x is not None]
        if len(solved) < len(found):
            return None
        parts.append(beside(solved))
    return below(parts)


def _solved_pair(relation: Relation, q: Extent, k: Extent) -> Rows | None:
    predicate = specialise(relation.where, q.segment, k.segment)
    found = solved_rows(predicate, q, k, relation.known)
    if found is None or k.stop == relation.k_len:
        return found
    # Inside a segment a row without keys points just past it; the whole sequence has one end.
    first = np.where(found.keys > 0, found.first, relation.k_len)
    return Rows(found.keys, first, found.last, found.exact)


def tiled_rows(plan: Plan, group: HeadPlan) -> Rows | None:
    """Rows from the tiles of a plan: full ones by extent, partial ones element by element.

    None when tensors are missing or there are too many tiles to look at.
    """
    tiles = group.table.tiles()
    if not plan.known.covers(group.where) or tiles["full"] + tiles["partial"] > VISITS:
        return None
    if tiles["partial"] * plan.layout.area > ELEMENTS:
        return None
    q, k = plan.layout.q, plan.layout.k
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
