"""Does every query have a key in the first tile that is visited for it?

A kernel with a running maximum then has a finite one from its first step on, and needs no guard
against the difference of two infinities. First means first in place: key tiles ascend in a
table's row, and in a box from its corner.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.alike import to_ask
from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything, Part
from attnlang.compiler.plan.finding import PROVED, UNKNOWN, Finding
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.visit import Block, blocks_of

IntArray = NDArray[np.int64]
LOOKED_AT = 1 << 28
"""Pairs that are evaluated, at most."""
CHUNK = 1 << 21
MOST_TRUTH = 1 << 24
"""Pairs of one axis that may be laid out."""


def first_tile_live(plan: Plan, group: HeadPlan) -> Finding:
    """Whether each query of the group has a key in the first tile, and one that has none."""
    if not plan.known.covers(group.where):
        return UNKNOWN
    if group.boxes is not None:
        return _of_boxes(plan, group, group.boxes)
    table, q = group.table, group.layout.q
    first = table.offsets[:-1]
    visited = table.live_per_row() > 0
    if not visited.all():
        return _dead(group, int((~visited).argmax()), np.zeros(q.capacity, dtype=bool))
    rows = np.flatnonzero(~table.full[first])
    for block in blocks_of(plan, group, rows, table.starts[first[rows]]):
        found = _of_block(plan, group, block)
        if found.holds is not True:
            return found
    return PROVED


def _of_block(plan: Plan, group: HeadPlan, block: Block) -> Finding:
    """Of tile pairs of two segments: every query has a key if every kind of query has one."""
    where, known = block.predicate, plan.known
    asked = to_ask(where, block.q, block.k, known, block.rows, block.columns)
    if asked.elements > LOOKED_AT:
        return UNKNOWN
    elements = Elements(asked.q, asked.k, known)
    for part, value, real in elements.masks(where, asked.rows, asked.columns):
        dead = ((value & real).any(axis=2) < real.any(axis=2)).any(axis=1)
        if dead.any():
            return _of_pair(plan, group, block, asked.copies == part.start + int(dead.argmax()))
    return PROVED


def _of_pair(plan: Plan, group: HeadPlan, block: Block, among: NDArray[np.bool_]) -> Finding:
    """A query without a key in the first of some tile pairs, which has one."""
    pair = [int(among.argmax())]
    elements = Elements(block.q, block.k, plan.known)
    ((_, value, real),) = elements.masks(block.predicate, block.rows[pair], block.columns[pair])
    live = np.any(value & real, axis=(0, 2))
    return _dead(group, block.top + int(block.rows[pair[0]]), live)


def _of_boxes(plan: Plan, group: HeadPlan, table: BoxTable) -> Finding:
    top = 0
    for part in table.parts:
        found = _of_part(plan, group, part, top)
        if found.holds is not True:
            return found
        top += part.q.tiles
    return PROVED


def _of_part(plan: Plan, group: HeadPlan, part: Part, top: int) -> Finding:
    """Of the query tiles of one segment: each begins with the first box that has keys for it."""
    waiting = np.ones(part.q.tiles, dtype=bool)
    for box in part.boxes:
        here = np.flatnonzero(waiting & (box.volumes > 0))
        waiting[here] = False
        if isinstance(box, Everything):
            continue
        rows = _distinct(box, group, here[~(_first_is_full(box) | _live_by_axis(box))[here]])
        size = box.q.capacity * math.prod(box.k_tile)
        if len(rows) * size > LOOKED_AT:
            return UNKNOWN
        step = max(1, CHUNK // size)
        for i in range(0, len(rows), step):
            some = rows[i : i + step]
            q = box.q.tokens[some]
            k, inside = first_keys(box, some)
            mask = on_tokens(group.where, plan.problem, plan.known, np.maximum(q, 0), k)
            live = (mask & inside[:, None, :]).any(axis=2) | (q < 0)
            if not live.all():
                row = int((~live.all(axis=1)).argmax())
                return _dead(group, top + int(some[row]), live[row])
    if waiting.any():
        return _dead(group, top + int(waiting.argmax()), np.zeros(part.q.capacity, dtype=bool))
    return PROVED


def _distinct(box: Box, group: HeadPlan, rows: IntArray) -> IntArray:
    """The rows without those whose first tile is a copy of another's, moved along a sequence."""
    axis, reach = box.q.axes[0], box.reaches[0]
    if len(box.reaches) > 1 or not axis.contiguous or reach.step > 1:
        return rows
    if not shift_invariant(group.where, axis.size, axis.size):
        return rows
    keys = np.minimum(reach.counts[rows], box.k_tile[0])
    kind = np.stack((reach.starts[rows] - rows * axis.size, keys, axis.counts[rows]))
    _, first = np.unique(kind, axis=1, return_index=True)
    return rows[np.sort(first)]


def _live_by_axis(box: Box) -> NDArray[np.bool_]:
    """Query tiles of which every query is known to have a key in the first tile ``[rows]``: it has
    one where it has one on each axis."""
    live = np.ones(box.q.tiles, dtype=bool)
    shape = tuple(a.strips for a in box.q.axes)
    for i, (reach, strips) in enumerate(zip(box.reaches, box.q.axes, strict=True)):
        size = strips.strips * strips.size * int(reach.counts.max(initial=0))
        if size > MOST_TRUTH or reach.truth is None:
            return np.zeros_like(live)
        padding = np.arange(strips.size) >= strips.counts[:, None]
        some = (reach.truth[:, :, : box.k_tile[i]].any(axis=2) | padding).all(axis=1)
        line = some.reshape([-1 if j == i else 1 for j in range(len(shape))])
        live &= np.broadcast_to(line, shape).ravel()
    return live


def _first_is_full(box: Box) -> NDArray[np.bool_]:
    """Which query tiles' boxes begin with a full tile ``[rows]``."""
    full = np.ones(box.q.tiles, dtype=bool)
    starts = box.per_row(lambda r: r.full_starts)
    wholes = box.per_row(lambda r: r.full_counts)
    counts = box.per_row(lambda r: r.counts)
    for start, whole, count, tile in zip(starts, wholes, counts, box.k_tile, strict=True):
        full &= (start == 0) & (whole > 0) & (whole >= np.minimum(count, tile))
    return full


def first_keys(box: Box, rows: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Sequence places of the first key tile of some rows ``[rows, key tile]``, and which of them
    lie in the box."""
    n = len(box.reaches)
    at = np.unravel_index(rows, tuple(a.strips for a in box.q.axes))
    flat: IntArray = np.full((len(rows),) + (1,) * n, box.k.start, dtype=np.int64)
    inside = np.ones((len(rows),) + (1,) * n, dtype=bool)
    stride = 1
    for i in reversed(range(n)):
        reach, tile = box.reaches[i], box.k_tile[i]
        j = np.arange(tile, dtype=np.int64)
        real = j < reach.counts[at[i]][:, None]
        places = reach.starts[at[i]][:, None] + np.where(real, j, 0) * reach.step
        shape = [len(rows)] + [1] * n
        shape[1 + i] = tile
        flat = flat + places.reshape(shape) * stride
        inside = inside & real.reshape(shape)
        stride *= box.k.lengths[i]
    return flat.reshape(len(rows), -1), inside.reshape(len(rows), -1)


def _dead(group: HeadPlan, row: int, live: NDArray[np.bool_]) -> Finding:
    """The first query of a tile that is not live."""
    tokens = group.layout.q.tokens[row][: len(live)]
    return Finding(False, int(tokens[(~live) & (tokens >= 0)][0]))
