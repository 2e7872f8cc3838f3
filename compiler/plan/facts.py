"""What a plan proves about its problem, for kernels and for people."""

from __future__ import annotations

import numpy as np

from attnlang.compiler.plan.count import pairs_per_row
from attnlang.compiler.plan.crossing import segment_inputs, stays_within
from attnlang.compiler.plan.first_tile import first_tile_live
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.problem import Problem


def prove(plan: Plan) -> dict[str, bool]:
    """Facts by name; False means not proved.

    rows_nonempty: every query has a key. causal: no key after its query (by place in the
    sequence). first_tile_live: every query has a key in the first tile visited for it
    (:mod:`first_tile`). contiguous: every query tile visits one run of key tiles. int32: all
    tensor offsets of ``[heads, tokens, 256]`` fit 32 bits. within_NAME, for each sorted integer
    input: no query attends a key whose value of it is another (:mod:`crossing`).
    """
    within = {
        f"within_{name}": all(stays_within(plan, g, name).holds is True for g in plan.heads)
        for name in segment_inputs(plan.problem.pattern)
    }
    return {
        "rows_nonempty": all(rows_nonempty(plan, g) for g in plan.heads),
        "causal": all(causal(plan, g) for g in plan.heads),
        "first_tile_live": all(first_tile_live(plan, g).holds is True for g in plan.heads),
        "contiguous": all(contiguous(g) for g in plan.heads),
        "int32": plan.problem.heads * max(plan.problem.q_len, plan.problem.k_len) * 256 < 2**31,
        **within,
    }


def rows_nonempty(plan: Plan, group: HeadPlan) -> bool:
    """Every query attends some key: a full tile settles its rows, the rest are looked at.

    Run-time tensors that are not known are taken to be the same for queries and keys.
    """
    if not plan.known.covers(group.where):
        from attnlang.compiler.sema.rows import attends_itself

        return same_tokens(plan.problem) and attends_itself(plan.problem.pattern, group.where)
    rows, _, full = group.table.entries()
    settled = np.zeros(group.table.rows, dtype=bool)
    settled[rows[full]] = True
    if settled.all():
        return True
    return bool((pairs_per_row(plan, group) > 0).all())


def same_tokens(problem: Problem) -> bool:
    """Is every query a key too, at its own place and coordinates?"""
    q, k = ([(x.lengths, x.origin) for x in side] for side in (problem.q, problem.k))
    return q == k


def causal(plan: Plan, group: HeadPlan) -> bool:
    """No visited pair has its key after its query."""
    q, k = group.layout.q.tokens, group.layout.k.tokens
    if plan.problem.q_len != plan.problem.k_len:
        return False
    rows, columns, full = group.table.entries()
    first_q = np.where(q >= 0, q, np.iinfo(np.int64).max).min(axis=1)
    last_q, last_k = q.max(axis=1), k.max(axis=1)
    if (full & (last_k[columns] > first_q[rows])).any():
        return False
    doubtful = ~full & (last_k[columns] > first_q[rows])
    if not doubtful.any():
        return True
    if not plan.known.covers(group.where) or (len(q) != 1 and last_q.size == 0):
        return False
    return _no_later_key(plan, group, rows[doubtful], columns[doubtful])


def _no_later_key(plan: Plan, group: HeadPlan, rows: np.ndarray, columns: np.ndarray) -> bool:
    from attnlang.compiler.plan.visit import masks_of

    q, k = group.layout.q.tokens, group.layout.k.tokens
    for r, c, value in masks_of(plan, group, rows, columns):
        later = k[c][:, None, :] > q[r][:, :, None]
        if (value & later).any():
            return False
    return True


def contiguous(group: HeadPlan) -> bool:
    """Each query tile's key tiles are one run."""
    t = group.table
    joined = t.starts[1:] == t.stops[:-1]
    same_row = np.diff(t.row_of_run) == 0
    return bool((joined | ~same_row).all())
