"""From visited tiles to a few batched operations.

Query tiles with like lists of key tiles become one batch. Where the lists are runs that move by
a constant step (windows, blocks, growing causal rows) the batch reads keys through a strided
view, without a copy; elsewhere it gathers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.plan.table import RunTable

IntArray = NDArray[np.int64]
SHORTEST_VIEW = 3
"""Fewer rows than this are gathered together with others rather than viewed alone."""
MANY = 8
"""From so many rows on a batch of their own is worth it."""
MOST_VIEWS = 24
"""Every view costs a full-size gradient of k and v in the backward pass."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows ``first .. first + count - 1`` of query tiles; row i reads ``width`` key tiles from
    ``start + i * step``."""

    first: int
    count: int
    start: int
    step: int
    width: int

    @property
    def rows(self) -> IntArray:
        return np.arange(self.first, self.first + self.count, dtype=np.int64)

    @property
    def columns(self) -> IntArray:
        starts = self.start + np.arange(self.count, dtype=np.int64) * self.step
        return starts[:, None] + np.arange(self.width, dtype=np.int64)

    def moved(self, top: int) -> View:
        """The same for query tiles ``top`` further on."""
        return View(self.first + top, self.count, self.start, self.step, self.width)

    def part(self, start: int, count: int) -> View:
        """Rows ``start .. start + count - 1`` of the view (fewer at its end)."""
        count = min(count, self.count - start)
        return View(
            self.first + start, count, self.start + start * self.step, self.step, self.width
        )


@dataclass(frozen=True, slots=True)
class Gather:
    """Query tiles ``rows [n]`` with key tiles ``columns [n, width]``; padding repeats a tile
    beyond the first ``counts [n]``."""

    rows: IntArray
    columns: IntArray
    counts: IntArray

    @property
    def width(self) -> int:
        return int(self.columns.shape[1])

    def moved(self, top: int) -> Gather:
        """The same for query tiles ``top`` further on."""
        return Gather(self.rows + top, self.columns, self.counts)

    def part(self, start: int, count: int) -> Gather:
        """Rows ``start .. start + count - 1`` of the batch (fewer at its end)."""
        rows = slice(start, start + count)
        return Gather(self.rows[rows], self.columns[rows], self.counts[rows])


Batch = View | Gather


def bucket(length: int | IntArray) -> IntArray:
    """Lengths rounded up so that few remain and at most a quarter is added."""
    n = np.maximum(np.asarray(length, dtype=np.int64), 1)
    step = np.maximum(1, 2 ** np.maximum(np.floor(np.log2(n)).astype(np.int64) - 2, 0))
    rounded: IntArray = -(-n // step) * step
    return rounded


def schedule(table: RunTable) -> list[Batch]:
    """Batches that cover every row with a key, each row once; rows without keys are left out."""
    counts = table.live_per_row()
    live = counts > 0
    first = np.zeros(table.rows, dtype=np.int64)
    last = np.zeros(table.rows, dtype=np.int64)
    first[live] = table.starts[table.offsets[:-1][live]]
    last[live] = table.stops[table.offsets[1:][live] - 1]
    whole = live & (last - first == counts)
    views = _views(first, counts, whole, table.columns)
    if len(views) > MOST_VIEWS:
        views = []
    viewed = np.zeros(table.rows, dtype=bool)
    for view in views:
        viewed[view.rows] = True
    return [*views, *_gathers(table, counts, live & ~viewed)]


def schedule_spans(
    starts: IntArray, counts: IntArray, steps: Sequence[int], keys: int
) -> list[Batch]:
    """Batches of rows that each read spans of keys, to the key.

    starts, counts: ``[rows, spans]``; spans of a row are read one after another. steps: how far
    apart the keys of each span are.
    """
    some = counts > 0
    total = counts.sum(axis=1)
    live, lone = total > 0, (some.sum(axis=1) == 1) & ~some[:, np.array(steps) > 1].any(axis=1)
    begin = np.take_along_axis(starts, some.argmax(axis=1)[:, None], axis=1)[:, 0]
    views = _views(begin, total, lone, keys)
    if len(views) > MOST_VIEWS:
        views = []
    rest = live.copy()
    for view in views:
        rest[view.rows] = False
    made: list[Batch] = [*views]
    for here in _alike(counts, np.flatnonzero(rest)):
        columns = _packed(starts[here], counts[here], steps)
        made.append(Gather(here, columns, total[here]))
    return made


def _alike(counts: IntArray, rows: IntArray) -> list[IntArray]:
    """Rows of spans of like lengths together. Where there are several spans a row, those of equal
    lengths stay alone if they are many: they are likely to share a mask."""
    if not len(rows):
        return []
    made = []
    if counts.shape[1] > 1:
        _, kind, many = np.unique(counts[rows], axis=0, return_inverse=True, return_counts=True)
        kind = kind.ravel()
        made = [rows[kind == i] for i in np.flatnonzero(many >= MANY)]
        rows = rows[many[kind] < MANY]
    widths = bucket(counts[rows].sum(axis=1))
    return [*made, *(rows[widths == width] for width in np.unique(widths))]


def _packed(starts: IntArray, counts: IntArray, steps: Sequence[int]) -> IntArray:
    """The keys of spans, one after another ``[rows, longest]``; padding repeats the first."""
    total = counts.sum(axis=1)
    within = np.arange(int(total.max()), dtype=np.int64)
    before = np.cumsum(counts, axis=1) - counts
    columns = np.broadcast_to(starts[np.arange(len(starts)), (counts > 0).argmax(axis=1)][:, None],
                              (len(starts), len(within))).copy()  # fmt: skip
    for i in range(counts.shape[1]):
        j = within - before[:, i, None]
        inside = (j >= 0) & (j < counts[:, i, None])
        columns = np.where(inside, starts[:, i, None] + j * steps[i], columns)
    return columns


def _views(first: IntArray, counts: IntArray, whole: NDArray[np.bool_], columns: int) -> list[View]:
    """Maximal stretches of rows whose runs start at a constant step and are of like length."""
    widths = bucket(counts)
    made: list[View] = []
    i, n = 0, len(first)
    while i < n:
        if not whole[i]:
            i += 1
            continue
        j = i + 1
        step = int(first[j] - first[i]) if j < n else 0
        while (
            j < n and whole[j] and step >= 0
            and first[j] - first[j - 1] == step and widths[j] == widths[i]
        ):  # fmt: skip
            j += 1
        width = int(counts[i:j].max())
        # The view must end inside the keys: rows that would not are left to the next batch.
        while j - i > 1 and first[i] + (j - 1 - i) * step + width > columns:
            j -= 1
            width = int(counts[i:j].max())
        if j - i >= SHORTEST_VIEW and first[i] + (j - 1 - i) * step + width <= columns:
            made.append(View(i, j - i, int(first[i]), step, width))
            i = j
        else:
            i += 1
        if len(made) > MOST_VIEWS:
            break
    return made


def _gathers(table: RunTable, counts: IntArray, chosen: NDArray[np.bool_]) -> list[Gather]:
    _, columns, _ = table.entries() if chosen.any() else (np.zeros(0, dtype=np.int64),) * 3
    widths = bucket(counts)
    first_entry = np.concatenate(([0], np.cumsum(counts)))
    made = []
    for width in np.unique(widths[chosen]):
        here = np.flatnonzero(chosen & (widths == width))
        width = int(counts[here].max())
        within = np.arange(width, dtype=np.int64)
        beyond = within >= counts[here][:, None]
        entry = first_entry[here][:, None] + np.where(beyond, 0, within)
        made.append(Gather(here, columns[entry], counts[here]))
    return made
