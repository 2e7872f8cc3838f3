"""Boxes to batches: query tiles with their boxes of keys, and the masks they need.

Folded patterns (windows, grids, axial attention) read keys in the query tiles' own order: one
view, no gather. Sequences read spans of tokens, one span a tile through a strided view. Other
boxes are gathered token by token, tiles with the same mask together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.backends.blocked.schedule import Batch, Gather, View, schedule_spans
from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything, Part
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
    shape number their tokens differently, and prefixes of keys shift them."""
    q, k = plan.problem.q, plan.problem.k
    if len(q) > 1 or len(k) > 1 or q[0].lengths != k[0].lengths:
        return False
    boxes = [None if g.boxes is None else g.boxes.single for g in plan.heads]
    return all(
        box is not None
        and all(
            r.same_as(a) and r.truth is not None
            for r, a in zip(box.reaches, box.q.axes, strict=True)
        )
        for box in boxes
    )


def box_batches(plan: Plan, group: HeadPlan, table: BoxTable) -> list[BoxBatch]:
    """Batches that cover every query tile with a key."""
    if in_tile_order(plan):
        assert table.single is not None
        return _folded(table.single)
    made, top = [], 0
    for part in table.parts:
        if all(isinstance(b, Everything) or _is_span(b) for b in part.boxes):
            made += _spans(plan, group, part, top)
        else:
            made += _gathered(part, top, plan.layout.q.capacity)
        top += part.q.tiles
    return made


def _is_span(box: Box) -> bool:
    """Is it read by its first key and how many there are, and masked by asking its pairs?"""
    return len(box.reaches) == 1 and (box.reaches[0].step == 1 or box.reaches[0].table is None)


def _folded(box: Box) -> list[BoxBatch]:
    rows = np.arange(box.q.tiles, dtype=np.int64)
    ids = _classes((box,))[0]
    distinct = len(np.unique(ids))
    mask = _masks(box, rows[:1] if distinct == 1 else rows)
    return [BoxBatch(View(0, box.q.tiles, 0, 1, 1), None if mask.all() else mask)]


def _spans(plan: Plan, group: HeadPlan, part: Part, top: int) -> list[BoxBatch]:
    """Batches of query tiles that read spans of a sequence. top: the part's first query tile."""
    if not part.boxes:
        return []
    boxes = [x for b in part.boxes for x in b.unrolled()]
    starts = np.stack([_first_keys(b) for b in boxes], axis=1)
    counts = np.stack([b.volumes for b in boxes], axis=1)
    steps = [1 if isinstance(b, Everything) else b.reaches[0].step for b in boxes]
    full = np.stack([_fully(b) for b in boxes], axis=1)
    whole = np.where((full | (counts == 0)).all(axis=1), counts.sum(axis=1), -1)
    made = []
    for batch in schedule_spans(starts, counts, steps, plan.problem.k_len):
        exact = bool((whole[batch.rows] == batch.width).all())
        batch = batch.moved(top)
        made.append(BoxBatch(batch, _span_mask(plan, group, part, batch, exact=exact)))
    return made


def _first_keys(box: Box | Everything) -> IntArray:
    """Sequence places of the first key of every query tile ``[rows]``."""
    if isinstance(box, Everything):
        return np.full(box.q.tiles, box.k.start, dtype=np.int64)
    return box.k.start + box.reaches[0].starts


def _fully(box: Box | Everything) -> BoolArray:
    """Do all queries of a tile attend all its keys? ``[rows]``"""
    if isinstance(box, Everything):
        return np.ones(box.q.tiles, dtype=bool)
    reach = box.reaches[0]
    return np.equal(reach.full_counts, reach.counts)


def _span_mask(
    plan: Plan, group: HeadPlan, part: Part, batch: Batch, *, exact: bool
) -> BoolArray | None:
    q_tokens = plan.layout.q.tokens
    rows, columns = batch.rows, batch.columns
    if exact and (q_tokens[rows] >= 0).all():
        return None
    if isinstance(batch, View) and batch.count > 1:
        ragged = (q_tokens[rows[-1]] < 0).any()
        if not ragged and shift_invariant(group.where, part.q.axes[0].size, batch.step):
            rows, columns = rows[-1:], columns[-1:]
    parts: list[tuple[BoolArray, int]] = []
    step = max(1, (1 << 22) // (q_tokens.shape[1] * batch.width))
    for i in range(0, len(rows), step):
        some = slice(i, i + step)
        q, k = q_tokens[rows[some]], columns[some]
        here = on_tokens(group.where, plan.problem, plan.known, np.maximum(q, 0), k)
        here = here & (q >= 0)[:, :, None]
        if isinstance(batch, Gather):
            here &= (np.arange(batch.width) < batch.counts[some, None])[:, None, :]
        parts.append((here[:1] if (here == here[:1]).all() else here, len(q)))
    first = parts[0][0][:1]
    if all(len(part) == 1 and np.array_equal(part, first) for part, _ in parts):
        mask = first  # all rows have one mask
    else:
        mask = np.concatenate([np.broadcast_to(x, (n, *x.shape[1:])) for x, n in parts])
    return None if mask.all() else mask


def _gathered(part: Part, top: int, capacity: int) -> list[BoxBatch]:
    """Batches of query tiles that gather their keys. capacity: slots of the plan's query tiles."""
    own = tuple(b for b in part.boxes if isinstance(b, Box))
    ids, shapes = _classes(own)
    volumes = np.sum([b.volumes for b in part.boxes], axis=0)
    live = volumes > 0
    made = []
    for shape in np.unique(shapes[live]):
        rows = np.flatnonzero(live & (shapes == shape))
        area = part.q.capacity * int(volumes[rows[0]])
        if len(rows) * area <= MASK_BYTES:
            groups = [rows]
        else:
            groups = [rows[ids[rows] == i] for i in np.unique(ids[rows])]
        for chosen in groups:
            columns = np.concatenate([_tokens(b, chosen) for b in part.boxes], axis=1)
            alike = len(np.unique(ids[chosen])) == 1
            mask = _part_masks(part, chosen[:1] if alike else chosen)
            if capacity > part.q.capacity:
                mask = np.pad(mask, ((0, 0), (0, capacity - part.q.capacity), (0, 0)))
            counts = np.full(len(chosen), columns.shape[1], dtype=np.int64)
            batch = Gather(chosen + top, columns, counts)
            made.append(BoxBatch(batch, None if mask.all() else mask))
    return made


def _classes(boxes: tuple[Box, ...]) -> tuple[IntArray, IntArray]:
    """For every query tile, which mask it has and which box shapes (numbers of no meaning)."""
    kinds, shapes = [], []
    for box in boxes:
        for i, (reach, strips) in enumerate(zip(box.reaches, box.q.axes, strict=True)):
            assert reach.truth is not None
            flat = np.concatenate(
                (
                    reach.truth.reshape(len(reach.counts), -1),
                    _bits(reach.counts),
                    _bits(strips.counts),
                ),
                axis=1,
            )
            _, kind = np.unique(flat, axis=0, return_inverse=True)
            _, shape = np.unique(reach.counts, return_inverse=True)
            kinds.append(_spread(box, i, kind.ravel()))
            shapes.append(_spread(box, i, shape.ravel()))
    return _mix(kinds), _mix(shapes)


def _bits(counts: IntArray) -> BoolArray:
    return (counts[:, None] >> np.arange(31)) & 1 > 0


def _mix(parts: list[IntArray]) -> IntArray:
    _, mixed = np.unique(np.stack(parts), axis=1, return_inverse=True)
    return mixed.ravel()


def _spread(box: Box, axis: int, per_strip: IntArray) -> IntArray:
    shape = tuple(a.strips for a in box.q.axes)
    line = [1] * len(shape)
    line[axis] = shape[axis]
    return np.broadcast_to(per_strip.reshape(line), shape).ravel()


def _strips_of(box: Box, rows: IntArray) -> list[IntArray]:
    return [np.asarray(x) for x in np.unravel_index(rows, tuple(a.strips for a in box.q.axes))]


def _part_masks(part: Part, rows: IntArray) -> BoolArray:
    """Masks ``[rows, q capacity, keys of all boxes]``."""
    real = part.q.tokens[rows] >= 0
    masks = [
        np.broadcast_to(real[:, :, None], (*real.shape, b.k.size))
        if isinstance(b, Everything)
        else _masks(b, rows)
        for b in part.boxes
    ]
    return np.concatenate(masks, axis=2)


def _masks(box: Box, rows: IntArray) -> BoolArray:
    """Masks ``[rows, q capacity, box volume]``: products of the axes' own truths."""
    n = len(box.reaches)
    product: BoolArray = np.ones((len(rows),) + (1,) * (2 * n), dtype=bool)
    widths = []
    for i, (reach, strips) in enumerate(zip(box.reaches, _strips_of(box, rows), strict=True)):
        assert reach.truth is not None
        width = int(reach.counts[strips].max(initial=0))
        widths.append(width)
        shape = [len(rows)] + [1] * (2 * n)
        shape[1 + i], shape[1 + n + i] = box.q.axes[i].size, width
        product = product & reach.truth[strips][:, :, :width].reshape(shape)
    return product.reshape(len(rows), box.q.capacity, int(np.prod(widths)))


def _tokens(box: Box | Everything, rows: IntArray) -> IntArray:
    """Sequence places of every key of the boxes ``[rows, volume]`` (all boxes of one shape)."""
    if isinstance(box, Everything):
        places = box.k.start + np.arange(box.k.size, dtype=np.int64)
        return np.broadcast_to(places, (len(rows), box.k.size))
    n = len(box.reaches)
    flat: IntArray = np.full((len(rows),) + (1,) * n, box.k.start, dtype=np.int64)
    stride = 1
    for i in reversed(range(n)):
        reach, strips = box.reaches[i], _strips_of(box, rows)[i]
        width = int(reach.counts[strips].max(initial=0))
        places = reach.starts[strips][:, None] + np.arange(width, dtype=np.int64) * reach.step
        shape = [len(rows)] + [1] * n
        shape[1 + i] = width
        flat = flat + places.reshape(shape) * stride
        stride *= box.k.lengths[i]
    return flat.reshape(len(rows), -1)
