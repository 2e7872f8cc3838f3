"""Exact numbers of attending pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.visit import masks_of


def count_pairs(plan: Plan, group: HeadPlan) -> int:
    """Pairs of one head: full tiles by area, partial ones element by element.

    Raises ValueError when a run-time tensor the predicate reads is not known.
    """
    if not plan.known.covers(group.where):
        raise ValueError("counting needs the pattern's run-time tensors: give them to plan(...)")
    if group.boxes is not None:
        return group.boxes.pairs
    q, k = group.layout.q, group.layout.k
    rows, columns, full = group.table.entries()
    total = int((q.counts[rows[full]] * k.counts[columns[full]]).sum())
    partial = masks_of(plan, group, rows[~full], columns[~full])
    return total + sum(int(mask.sum()) for _, _, mask in partial)


def pairs_per_row(plan: Plan, group: HeadPlan) -> NDArray[np.int64]:
    """Keys of every query of one head ``[Nq]``, in sequence order."""
    q, k = group.layout.q, group.layout.k
    rows, columns, full = group.table.entries()
    slots = np.zeros((q.tiles, q.capacity), dtype=np.int64)
    slots += np.bincount(rows[full], k.counts[columns[full]], q.tiles).astype(np.int64)[:, None]
    for r, _, mask in masks_of(plan, group, rows[~full], columns[~full]):
        np.add.at(slots, r, mask.sum(axis=2))
    counts = np.zeros(plan.problem.q_len, dtype=np.int64)
    real = q.tokens >= 0
    counts[q.tokens[real]] = slots[real]
    return counts
