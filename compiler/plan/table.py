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

    def tiles(self) -> dict[str, int]:
        """Counts of full, partial and empty tiles."""
        lengths = self.stops - self.starts
        full = int(lengths[self.full].sum())
        live = int(lengths.sum())
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


def from_dense(live: NDArray[np.bool_], full: NDArray[np.bool_]) -> RunTable:
    """A table from two boolean tables ``[rows, columns]``."""
    rows, columns = live.shape
    kind = np.zeros((rows, columns + 2), dtype=np.int8)
    kind[:, 1:-1] = live
    kind[:, 1:-1] += live & full
    row, place = np.nonzero(np.diff(kind, axis=1))  # between columns place - 1 and place
    # A run begins where something begins, and ends at the next change.
    begins = np.flatnonzero(kind[row, place + 1] > 0)
    whole = kind[row[begins], place[begins] + 1] == 2
    return joined((row[begins], place[begins], place[begins + 1]), whole, rows, columns)


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
