"""Which key tiles each query tile visits, as runs: compact where patterns are, at any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Runs: TypeAlias = tuple[IntArray, IntArray, IntArray]
"""Rows, first columns, and the columns after the last."""
SLAB = 1 << 20
"""Tile pairs of which runs are made at once."""


@dataclass(frozen=True)
class RunTable:
    """Rows of runs. Run ``i`` of row ``r`` (``offsets[r] <= i < offsets[r + 1]``) is key tiles
    ``starts[i] <= t < stops[i]``, all full or all partial; runs of a row ascend and are disjoint.
    """

    columns: int
    offsets: IntArray
    starts: IntArray
    stops: IntArray
    full: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.offsets, self.starts, self.stops, self.full))

    @cached_property
    def row_of_run(self) -> IntArray:
        return np.repeat(np.arange(self.rows, dtype=np.int64), np.diff(self.offsets))

    def live_per_row(self) -> IntArray:
        """How many key tiles each row visits."""
        return np.bincount(self.row_of_run, self.stops - self.starts, self.rows).astype(np.int64)

    @property
    def live(self) -> int:
        """How many tiles are visited."""
        return int((self.stops - self.starts).sum())

    def tiles(self) -> dict[str, int]:
        """Counts of full, partial and empty tiles."""
        live, full = self.live, int((self.stops - self.starts)[self.full].sum())
        return {"full": full, "partial": live - full, "empty": self.rows * self.columns - live}

    def entries(
        self, chosen: NDArray[np.bool_] | None = None
    ) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
        """Every visited tile, or those of some runs: its row, its column, whether it is full."""
        runs = np.arange(len(self.starts)) if chosen is None else np.flatnonzero(chosen)
        lengths = self.stops[runs] - self.starts[runs]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        run = np.repeat(runs, lengths)
        return self.row_of_run[run], self.starts[run] + within, self.full[run]

    def runs(self, which: NDArray[np.bool_]) -> Runs:
        """Rows, starts and stops of some of its runs."""
        return self.row_of_run[which], self.starts[which], self.stops[which]

    def dense(self) -> NDArray[np.uint8]:
        """``[rows, columns]`` of 0 empty, 1 partial, 2 full; for pictures and tests."""
        table = np.zeros((self.rows, self.columns), dtype=np.uint8)
        rows, columns, full = self.entries()
        table[rows, columns] = np.where(full, 2, 1)
        return table

    def transposed(self) -> RunTable:
        """The same visits by key tile: what the backward pass of k and v walks."""
        rows, columns, full = self.entries()
        order = np.lexsort((rows, columns))
        return from_entries(columns[order], rows[order], full[order], self.columns, self.rows)


def from_entries(
    rows: IntArray, columns: IntArray, full: NDArray[np.bool_], n_rows: int, n_columns: int
) -> RunTable:
    """A table from visited tiles sorted by row, then column."""
    if not len(rows):
        return empty(n_rows, n_columns)
    return joined((rows, columns, columns + 1), full, n_rows, n_columns)


def from_kinds(kinds: NDArray[np.uint8]) -> RunTable:
    """A table from ``[rows, columns]`` of 0 empty, 1 partial, 2 full."""
    rows, columns = kinds.shape
    step = max(1, SLAB // max(columns, 1))
    found = [
        (row + top, starts, stops, full)
        for top in range(0, rows, step)
        for row, starts, stops, full in [_runs(kinds[top : top + step])]
    ]
    if not found:
        return empty(rows, columns)
    row, starts, stops, full = (np.concatenate(x) for x in zip(*found, strict=True))
    return joined((row, starts, stops), full, rows, columns)


def _runs(kinds: NDArray[np.uint8]) -> tuple[IntArray, IntArray, IntArray, NDArray[np.bool_]]:
    """Rows, starts and stops of runs of one kind, and whether they are full."""
    rows, columns = kinds.shape
    padded = np.zeros((rows, columns + 1), dtype=np.uint8)
    padded[:, 1:] = kinds  # a row begins and ends with nothing: that of the next one
    flat = np.append(padded.ravel(), np.uint8(0))
    place = np.flatnonzero(flat[1:] != flat[:-1])
    # A run begins where something begins, and ends at the next change.
    first = np.flatnonzero(flat[place + 1])
    start = place[first]
    row, column = start // (columns + 1), start % (columns + 1)
    return row, column, column + place[first + 1] - start, flat[start + 1] == 2


def empty(rows: int, columns: int) -> RunTable:
    none = np.zeros(0, dtype=np.int64)
    return RunTable(
        columns, np.zeros(rows + 1, dtype=np.int64), none, none, np.zeros(0, dtype=bool)
    )


def from_runs(live: Sequence[Runs], not_full: Sequence[Runs], rows: int, columns: int) -> RunTable:
    """A table from runs of columns: visited where some live run is, full where no other one is.

    Runs may overlap and come in any order; each has at least one column.
    """
    width = columns + 1
    at, live_step, broken_step = [], [], []
    for runs, is_live in (*((r, True) for r in live), *((r, False) for r in not_full)):
        row, start, stop = runs
        at += [row * width + start, row * width + stop]
        step = np.repeat(np.array([1, -1], dtype=np.int64), len(row))
        live_step.append(step if is_live else np.zeros_like(step))
        broken_step.append(np.zeros_like(step) if is_live else step)
    if not at:
        return empty(rows, columns)
    place = np.concatenate(at)
    order = np.argsort(place, kind="stable")
    place = place[order]
    alive = np.cumsum(np.concatenate(live_step)[order])[:-1] > 0
    whole = np.cumsum(np.concatenate(broken_step)[order])[:-1] == 0
    # Between two ends that follow one another, everything is of one kind.
    piece = np.flatnonzero(alive & (np.diff(place) > 0))
    if not len(piece):
        return empty(rows, columns)
    row, starts, stops = place[piece] // width, place[piece] % width, place[piece + 1] % width
    return joined((row, starts, stops), whole[piece], rows, columns)


def joined(runs: Runs, full: NDArray[np.bool_], rows: int, columns: int) -> RunTable:
    """A table from disjoint runs that ascend row by row: what touches and is alike becomes one."""
    row, starts, stops = runs
    if not len(row):
        return empty(rows, columns)
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(row) != 0) | (starts[1:] != stops[:-1]) | (full[1:] != full[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(row)) - 1
    counts = np.bincount(row[first], minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return RunTable(columns, offsets, starts[first], stops[last], full[first])


def stack(blocks: tuple[tuple[RunTable, ...], ...]) -> RunTable:
    """Tables of segment pairs put together: rows of blocks, block columns side by side."""
    if len(blocks) == 1 and len(blocks[0]) == 1:
        return blocks[0][0]
    parts = []
    top = 0
    width = sum(b.columns for b in blocks[0])
    for line in blocks:
        left = 0
        for block in line:
            parts.append(
                (block.row_of_run + top, block.starts + left, block.stops + left, block.full)
            )
            left += block.columns
        top += line[0].rows
    row, starts, stops, full = (np.concatenate(x) for x in zip(*parts, strict=True))
    order = np.argsort(row, kind="stable")  # the blocks of a row are there from left to right
    return joined((row[order], starts[order], stops[order]), full[order], top, width)
