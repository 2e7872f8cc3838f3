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

    def entries(self) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
        """Every visited tile: its row, its column, whether it is full."""
        lengths = self.stops - self.starts
        total = int(lengths.sum())
        run = np.repeat(np.arange(len(lengths)), lengths)
        within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
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
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(rows) != 0) | (np.diff(columns) != 1) | (np.diff(full.astype(np.int8)) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(rows)) - 1
    counts = np.bincount(rows[first], minlength=n_rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return RunTable(n_columns, offsets, columns[first], columns[last] + 1, full[first])


def from_dense(live: NDArray[np.bool_], full: NDArray[np.bool_]) -> RunTable:
    """A table from two boolean tables ``[rows, columns]``."""
    rows, columns = np.nonzero(live)
    return from_entries(rows, columns, full[rows, columns], *live.shape)


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
    full = whole[piece]
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
    rows, columns, fulls = [], [], []
    top = 0
    width = sum(b.columns for b in blocks[0])
    for line in blocks:
        left = 0
        for block in line:
            r, c, f = block.entries()
            rows.append(r + top)
            columns.append(c + left)
            fulls.append(f)
            left += block.columns
        top += line[0].rows
    r, c, f = np.concatenate(rows), np.concatenate(columns), np.concatenate(fulls)
    order = np.lexsort((c, r))
    return from_entries(r[order], c[order], f[order], top, width)
