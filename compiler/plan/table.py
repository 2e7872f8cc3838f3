"""Which key tiles each query tile visits, as runs: compact where patterns are, at any length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


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


def from_intervals(
    live: tuple[IntArray, IntArray], not_full: tuple[IntArray, IntArray], columns: int
) -> RunTable:
    """A table from intervals of key tiles: ``(starts, stops)``, each ``[rows, intervals]``.

    A tile is visited if in a live interval, and full if in no ``not_full`` one besides. Empty
    intervals have ``stop <= start``.
    """
    (a, b), (c, d) = live, not_full
    n = a.shape[0]
    cuts = np.sort(np.concatenate((a, b, c, d), axis=1), axis=1)
    lo, hi = cuts[:, :-1], cuts[:, 1:]
    solid = hi > lo
    alive = solid & _covered(lo, a, b)
    whole = alive & ~_covered(lo, c, d)
    # Join neighbours of one kind: a piece opens a run unless the piece before continues into it.
    kind = np.where(alive, 1 + whole, 0)
    rows, pieces = np.nonzero(alive)
    starts, stops, kinds = lo[rows, pieces], hi[rows, pieces], kind[rows, pieces]
    if not len(rows):
        return empty(n, columns)
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(rows) != 0) | (starts[1:] != stops[:-1]) | (kinds[1:] != kinds[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(rows)) - 1
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows[first], minlength=n)))).astype(
        np.int64
    )
    return RunTable(columns, offsets, starts[first], stops[last], kinds[first] == 2)


def _covered(points: IntArray, starts: IntArray, stops: IntArray) -> NDArray[np.bool_]:
    found = np.zeros(points.shape, dtype=bool)
    for i in range(starts.shape[1]):
        found |= (points >= starts[:, i : i + 1]) & (points < stops[:, i : i + 1])
    return found


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
