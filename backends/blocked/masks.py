"""Element masks of a batch: evaluated once, and shared by rows that are copies of one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attnlang.backends.blocked.schedule import Batch, Gather
from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.visit import masks_of

BoolArray = NDArray[np.bool_]


def batch_mask(plan: Plan, group: HeadPlan, batch: Batch) -> BoolArray | None:
    """bool ``[1 or rows, q slots, width * k slots]``: which slots attend. None when all do.

    When moving by one row of tiles changes nothing in the predicate, all rows of a view have the
    mask of one of them, provided none is at a ragged edge or beyond the keys.
    """
    rows, columns = batch.rows, batch.columns
    if _alike(plan, group, batch):
        rows, columns = rows[-1:], columns[-1:]
    q, k = plan.layout.q, plan.layout.k
    mask = np.zeros((len(rows), q.capacity, batch.width, k.capacity), dtype=bool)
    status = _status(group, rows, columns)
    if isinstance(batch, Gather):
        status[np.arange(batch.width) >= batch.counts[:, None]] = 0
    real = (q.tokens[rows] >= 0)[:, :, None, None] & (k.tokens[columns] >= 0)[:, None, :, :]
    whole_r, whole_c = np.nonzero(status == 2)
    mask[whole_r, :, whole_c] = real[whole_r, :, whole_c]
    part_r, part_c = np.nonzero(status == 1)
    if len(part_r):
        place = {}
        flat_rows, flat_columns = rows[part_r], columns[part_r, part_c]
        for i, pair in enumerate(zip(flat_rows.tolist(), flat_columns.tolist(), strict=True)):
            place[pair] = i
        for r, c, value in masks_of(plan, group, flat_rows, flat_columns):
            at = np.array([place[pair] for pair in zip(r.tolist(), c.tolist(), strict=True)])
            mask[part_r[at], :, part_c[at]] = value
    flat = mask.reshape(len(rows), q.capacity, -1)
    return None if flat.all() else flat


def _status(
    group: HeadPlan, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """0, 1 or 2 for each (row, column): empty, partial or full."""
    table = group.table
    all_rows, all_columns, full = table.entries()
    keys = all_rows * table.columns + all_columns
    wanted = rows[:, None] * table.columns + columns
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = keys[at] == wanted
    return np.where(found, np.where(full[at], 2, 1), 0).astype(np.uint8)


def _alike(plan: Plan, group: HeadPlan, batch: Batch) -> bool:
    if isinstance(batch, Gather) or batch.count < 2:
        return False
    q, k = plan.layout.q, plan.layout.k
    if not (q.row_major and k.row_major):
        return False
    moved = (q.capacity, batch.step * k.capacity)
    ragged = (q.tokens[batch.rows[-1]] < 0).any() or (k.tokens[batch.columns[-1]] < 0).any()
    return not ragged and shift_invariant(group.where, *moved)
