"""Boxes to batches: query tiles with one box of keys each, and the masks they need.

Folded patterns (windows, grids, axial attention) read keys in the query tiles' own order: one
view, no gather. Sequences read spans of tokens through a strided view. Other boxes are gathered
token by token, tiles with the same mask together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.backends.blocked.schedule import Batch, Gather, View, schedule_spans
from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.plan.boxes import BoxTable
from attnlang.compiler.plan.plan import HeadPlan, Plan

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
MASK_BYTES = 64 << 20
"""Stacked masks of tiles with boxes of one shape; beyond, tiles are grouped by mask."""


@dataclass(frozen=True, slots=True)
class BoxBatch:
    """A batch and its mask ``[1 or rows, M, N]``; None when every slot attends."""

    batch: Batch
    mask: BoolArray | None


def in_tile_order(plan: Plan) -> bool:
    """Does every query tile of every head attend within its own tokens only? Grids of unlike
    shape number their tokens differently."""
    return plan.problem.q[0].lengths == plan.problem.k[0].lengths and all(
        g.boxes is not None
        and all(
            r.same_as(a) and r.truth is not None
            for r, a in zip(g.boxes.reaches, g.boxes.q.axes, strict=True)
        )
        for g in plan.heads
    )


def box_batches(plan: Plan, group: HeadPlan, boxes: BoxTable) -> list[BoxBatch]:
    """Batches that cover every query tile with a key."""
    if in_tile_order(plan):
        return _folded(boxes)
    if len(boxes.reaches) == 1 and boxes.reaches[0].step == 1:
        return _spans(plan, group, boxes)
    return _gathered(boxes, plan.problem.k[0].lengths)


def _folded(boxes: BoxTable) -> list[BoxBatch]:
    rows = np.arange(boxes.rows, dtype=np.int64)
    ids = _classes(boxes)[0]
    distinct = len(np.unique(ids))
    mask = _masks(boxes, rows[:1] if distinct == 1 else rows)
    return [BoxBatch(View(0, boxes.rows, 0, 1, 1), None if mask.all() else mask)]


def _spans(plan: Plan, group: HeadPlan, boxes: BoxTable) -> list[BoxBatch]:
    reach = boxes.reaches[0]
    made = []
    for batch in schedule_spans(reach.starts, reach.counts, plan.problem.k_len):
        made.append(BoxBatch(batch, _span_mask(plan, group, boxes, batch)))
    return made


def _span_mask(plan: Plan, group: HeadPlan, boxes: BoxTable, batch: Batch) -> BoolArray | None:
    q_tokens = boxes.q.tokens
    rows, columns = batch.rows, batch.columns
    reach = boxes.reaches[0]
    exact = reach.full_counts[rows] == batch.width
    if exact.all() and (q_tokens[rows] >= 0).all() and isinstance(batch, View):
        return None
    if isinstance(batch, View) and batch.count > 1:
        ragged = (q_tokens[rows[-1]] < 0).any()
        if not ragged and shift_invariant(group.where, boxes.q.axes[0].size, batch.step):
            rows, columns = rows[-1:], columns[-1:]
    mask = np.empty((len(rows), boxes.q.capacity, batch.width), dtype=bool)
    step = max(1, (1 << 22) // mask[0].size)
    for i in range(0, len(rows), step):
        part = slice(i, i + step)
        q, k = q_tokens[rows[part]], columns[part]
        mask[part] = on_tokens(group.where, plan.problem, plan.known, np.maximum(q, 0), k)
        mask[part] &= (q >= 0)[:, :, None]
        if isinstance(batch, Gather):
            mask[part] &= (np.arange(batch.width) < batch.counts[part, None])[:, None, :]
    return None if mask.all() else mask


def _gathered(boxes: BoxTable, lengths: tuple[int, ...]) -> list[BoxBatch]:
    ids, shapes = _classes(boxes)
    live = boxes.volumes > 0
    made = []
    for shape in np.unique(shapes[live]):
        rows = np.flatnonzero(live & (shapes == shape))
        area = boxes.q.capacity * int(boxes.volumes[rows[0]])
        if len(rows) * area <= MASK_BYTES:
            groups = [rows]
        else:
            groups = [rows[ids[rows] == i] for i in np.unique(ids[rows])]
        for chosen in groups:
            columns = _box_tokens(boxes, chosen, lengths)
            alike = len(np.unique(ids[chosen])) == 1
            mask = _masks(boxes, chosen[:1] if alike else chosen)
            counts = np.full(len(chosen), columns.shape[1], dtype=np.int64)
            made.append(BoxBatch(Gather(chosen, columns, counts), None if mask.all() else mask))
    return made


def _classes(boxes: BoxTable) -> tuple[IntArray, IntArray]:
    """For every query tile, which mask it has and which box shape (numbers of no meaning)."""
    kinds, shapes = [], []
    for i, reach in enumerate(boxes.reaches):
        assert reach.truth is not None
        flat = np.concatenate(
            (reach.truth.reshape(len(reach.counts), -1), _bits(reach.counts)), axis=1
        )
        _, kind = np.unique(flat, axis=0, return_inverse=True)
        _, shape = np.unique(reach.counts, return_inverse=True)
        kinds.append(_spread(boxes, i, kind.ravel()))
        shapes.append(_spread(boxes, i, shape.ravel()))
    return _mix(kinds), _mix(shapes)


def _bits(counts: IntArray) -> BoolArray:
    return (counts[:, None] >> np.arange(31)) & 1 > 0


def _mix(parts: list[IntArray]) -> IntArray:
    _, mixed = np.unique(np.stack(parts), axis=1, return_inverse=True)
    return mixed.ravel()


def _spread(boxes: BoxTable, axis: int, per_strip: IntArray) -> IntArray:
    shape = tuple(a.strips for a in boxes.q.axes)
    line = [1] * len(shape)
    line[axis] = shape[axis]
    return np.broadcast_to(per_strip.reshape(line), shape).ravel()


def _strips_of(boxes: BoxTable, rows: IntArray) -> list[IntArray]:
    return [np.asarray(x) for x in np.unravel_index(rows, tuple(a.strips for a in boxes.q.axes))]


def _masks(boxes: BoxTable, rows: IntArray) -> BoolArray:
    """Masks ``[rows, q capacity, box volume]``: products of the axes' own truths."""
    n = len(boxes.reaches)
    product: BoolArray = np.ones((len(rows),) + (1,) * (2 * n), dtype=bool)
    widths = []
    for i, (reach, strips) in enumerate(zip(boxes.reaches, _strips_of(boxes, rows), strict=True)):
        assert reach.truth is not None
        width = int(reach.counts[strips].max(initial=0))
        widths.append(width)
        shape = [len(rows)] + [1] * (2 * n)
        shape[1 + i], shape[1 + n + i] = boxes.q.axes[i].size, width
        product = product & reach.truth[strips][:, :, :width].reshape(shape)
    return product.reshape(len(rows), boxes.q.capacity, int(np.prod(widths)))


def _box_tokens(boxes: BoxTable, rows: IntArray, lengths: tuple[int, ...]) -> IntArray:
    """Sequence places of every key of the boxes ``[rows, volume]`` (all boxes of one shape).

    lengths: of the keys' axes.
    """
    n = len(boxes.reaches)
    flat: IntArray = np.zeros((len(rows),) + (1,) * n, dtype=np.int64)
    stride = 1
    for i in reversed(range(n)):
        reach, strips = boxes.reaches[i], _strips_of(boxes, rows)[i]
        width = int(reach.counts[strips].max(initial=0))
        places = reach.starts[strips][:, None] + np.arange(width, dtype=np.int64) * reach.step
        shape = [len(rows)] + [1] * n
        shape[1 + i] = width
        flat = flat + places.reshape(shape) * stride
        stride *= lengths[i]
    return flat.reshape(len(rows), -1)
