"""A plan of boxes as the small integer tensors that kernels walk.

A box of keys is cut into tiles from its own first key, so no tile hangs over an edge that the
pattern does not have. Its tiles that every query attends are themselves a box; what is around it
is left and right of it on one axis, inside it on those before, and anywhere on those after.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attnlang.backends.triton.choices import step_of
from attnlang.backends.triton.steps import NUMBERS, of_boxes
from attnlang.compiler.layout.cost import slots
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything
from attnlang.compiler.plan.table import IntArray

WIDTH = len(NUMBERS)
Spans = list[tuple[IntArray, IntArray]]
"""Of every axis, the first tile and the tile after the last, for every row."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Box ``i`` of row ``r``, ``offsets[r] <= i < offsets[r + 1]``, is ``boxes[i]``: the place of
    its first key, then for each axis the first key's coordinate, how far the next key is in
    coordinates and in places, the keys of a tile, and those of the box, which may cut the last tile
    short."""

    offsets: torch.Tensor
    boxes: torch.Tensor


@dataclass(frozen=True, slots=True)
class BoxWalk:
    """rows: query tiles, for each class of heads. block: slots of a tile of keys at most.

    whole: has every tile of the full boxes a key in each of its slots? tile: the extents of every
    tile, empty where they differ. solid: are all boxes of neighbours in the grid, and extents
    powers of two?
    """

    rows: int
    partial: Boxes
    full: Boxes
    block: int
    whole: bool
    tile: tuple[int, ...]
    solid: bool
    counted: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict, compare=False)

    @property
    def alike(self) -> bool:
        return bool(self.tile)

    def steps(self, step: int) -> dict[str, torch.Tensor]:
        """How many steps of so many slots each row has, by kind."""
        if step not in self.counted:
            extents = step_of(self.tile, step)
            self.counted[step] = {
                f"{kind}_steps": of_boxes(x.offsets, x.boxes, step, extents)
                for kind, x in (("partial", self.partial), ("full", self.full))
            }
        return self.counted[step]


def box_walk(tables: Sequence[BoxTable], axes: int, device: torch.device) -> BoxWalk:
    """The boxes of all classes of heads, the rows of one after those of another. axes: of the keys'
    grid, which has more than other segments."""
    every = [box for table in tables for box in table.boxes]
    block = max((slots(math.prod(box.k_tile)) for box in every), default=1)
    rows = sum(part.q.tiles for part in tables[0].parts)
    found: dict[bool, list[tuple[IntArray, IntArray]]] = {True: [], False: []}
    top = 0
    for table in tables:
        for part in table.parts:
            for box in (x for b in part.boxes for x in b.unrolled()):
                for full, spans in _pieces(box):
                    found[full].append(_records(box, spans, top, axes))
            top += part.q.tiles
    whole = all(
        math.prod(box.k_tile) == block and (isinstance(box, Box) or box.k.size % block == 0)
        for box in every
        if box.full
    )
    made = {full: _joined(parts, top, axes, device) for full, parts in found.items()}
    tiles = {(1,) * (axes - len(box.k_tile)) + box.k_tile for box in every}
    tile = tiles.pop() if len(tiles) == 1 else ()
    solid = math.prod(tile) == block and all(
        isinstance(box, Box)
        and box.k.segment.is_grid
        and not any(box.k.origin)
        and all(r.step == 1 for r in box.reaches)
        for box in every
    )
    return BoxWalk(rows, made[False], made[True], block, whole, tile, solid)


def _pieces(box: Box | Everything) -> Iterator[tuple[bool, Spans]]:
    """Parts of a box that are boxes of tiles, and whether every pair of theirs attends."""
    if isinstance(box, Everything):
        zeros = np.zeros(box.q.tiles, dtype=np.int64)
        yield True, [(zeros, zeros + box.tiles_of_keys)]
        return
    whole, core = [], []
    starts, counts = (box.per_row(lambda r: r.full_starts), box.per_row(lambda r: r.full_counts))
    lengths = box.per_row(lambda r: r.counts)
    for start, count, length, tile in zip(starts, counts, lengths, box.k_tile, strict=True):
        first = np.where(count > 0, -(-start // tile), 0)
        last = np.where(count > 0, np.maximum((start + count) // tile, first), 0)
        whole.append((np.zeros_like(first), -(-length // tile)))
        core.append((first, last))
    yield True, core
    for i, (first, last) in enumerate(core):
        for side in ((whole[i][0], first), (last, whole[i][1])):
            yield False, [*core[:i], side, *whole[i + 1 :]]


def _records(box: Box | Everything, spans: Spans, top: int, axes: int) -> tuple[IntArray, IntArray]:
    """The rows of a box that have tiles in some spans, and their numbers, see :class:`Boxes`."""
    rows = len(spans[0][0])
    if isinstance(box, Everything):
        firsts, counts = [np.zeros(rows, dtype=np.int64)], [np.full(rows, box.k.size)]
        gaps, lengths = [1], [box.k.size]
    else:
        firsts, counts = box.per_row(lambda r: r.starts), box.per_row(lambda r: r.counts)
        gaps, lengths = [r.step for r in box.reaches], list(box.k.lengths)
    base = np.full(rows, box.k.start, dtype=np.int64)
    numbers: list[IntArray] = []
    stride = 1
    for i in reversed(range(len(lengths))):
        first, last = spans[i]
        tile, gap = box.k_tile[i], gaps[i]
        at = firsts[i] + first * tile * gap
        span = np.minimum((last - first) * tile, counts[i] - first * tile)
        of_all = (np.full(rows, x, dtype=np.int64) for x in (gap, gap * stride, tile))
        numbers = [at + box.k.origin[i], *of_all, span, *numbers]
        base = base + at * stride
        stride *= lengths[i]
    one = np.ones(rows, dtype=np.int64)
    numbers = [0 * one, one, one, one, one] * (axes - len(lengths)) + numbers
    table = np.stack([base, *numbers], axis=1)
    live = (table[:, WIDTH::WIDTH] > 0).all(axis=1)
    return top + np.flatnonzero(live), table[live]


def _joined(
    parts: list[tuple[IntArray, IntArray]], rows: int, axes: int, device: torch.device
) -> Boxes:
    at = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, dtype=np.int64)
    order = np.argsort(at, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(at, minlength=rows))))
    width = 1 + WIDTH * axes
    table = np.concatenate([p[1] for p in parts])[order] if len(at) else np.zeros((1, width))
    return Boxes(*(torch.as_tensor(x, dtype=torch.int32, device=device) for x in (offsets, table)))
