"""Reach: for every strip of queries on one axis, the keys it needs, as a progression.

The keys need not start at a tile's edge: a kernel walks from the progression's own first key.
Where the keys are several progressions, such as the pieces of a union, each is a reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.layout.tiling import AxisTiling

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Repeats:
    """Keys that come back ``period`` positions further on, ``times`` in all for each strip."""

    period: int
    times: IntArray


@dataclass(frozen=True)
class AxisReach:
    """Key positions ``starts + j * step`` for ``j < counts``, for each query strip; where they
    repeat, these are the keys of each time.

    full_starts, full_counts: the part (counted in j) that every query of the strip attends.
    count, table: make :attr:`pairs` and :attr:`truth` when they are asked for; table is None on
    long sequences, where nothing of that size is made.
    """

    starts: IntArray
    step: int
    counts: IntArray
    full_starts: IntArray
    full_counts: IntArray
    count: Callable[[], int] = field(repr=False)
    table: Callable[[], NDArray[np.bool_]] | None = field(default=None, repr=False)
    repeats: Repeats | None = None

    @cached_property
    def pairs(self) -> int:
        """How many (query, key) positions of the axis attend."""
        return self.count()

    @cached_property
    def truth(self) -> NDArray[np.bool_] | None:
        """``[strips, strip size, longest count]``: does the i-th query of the strip attend its
        j-th key?"""
        return None if self.table is None else self.table()

    @property
    def volumes(self) -> IntArray:
        """How many keys each strip has, over all times."""
        return self._all(self.counts)

    def tiles(self, size: int) -> IntArray:
        """Key tiles of ``size`` that each strip visits."""
        return self._all(-(-self.counts // size))

    def full_tiles(self, size: int) -> IntArray:
        """Key tiles of which every pair attends. The last, short one counts when all of it does."""
        stops = self.full_starts + self.full_counts
        first = -(-self.full_starts // size)
        last = np.where(stops >= self.counts, -(-self.counts // size), stops // size)
        return self._all(np.where(self.full_counts > 0, np.maximum(last - first, 0), 0))

    def _all(self, once: IntArray) -> IntArray:
        return once if self.repeats is None else once * self.repeats.times

    def unrolled(self) -> list[AxisReach]:
        """The same keys without repeats: the first time of every strip, the second, and so on.

        As many as the most times; what executors read that know no repeats. Pairs are not counted.
        """
        if self.repeats is None:
            return [self]
        made = []
        for i in range(int(self.repeats.times.max(initial=0))):
            here = i < self.repeats.times
            starts = np.where(here, self.starts + i * self.repeats.period, 0)
            counts, full = (np.where(here, x, 0) for x in (self.counts, self.full_counts))
            made.append(AxisReach(starts, self.step, counts, self.full_starts, full, _uncounted))
        return made

    def same_as(self, strips: AxisTiling) -> bool:
        """Are the keys of every strip just the strip's own positions?"""
        steps_fit = bool((strips.steps[strips.counts > 1] == self.step).all())
        return (
            steps_fit
            and self.repeats is None
            and np.array_equal(self.starts, strips.starts)
            and np.array_equal(self.counts, strips.counts)
        )

    @property
    def nbytes(self) -> int:
        arrays = (self.starts, self.counts, self.full_starts, self.full_counts)
        times = 0 if self.repeats is None else self.repeats.times.nbytes
        return sum(a.nbytes for a in arrays) + times


def _uncounted() -> int:
    raise AssertionError("the pairs of a part of a comb are not counted")


def reaches_of(
    table: NDArray[np.bool_], strips: AxisTiling, keys: IntArray, step: int, most: int
) -> tuple[AxisReach, ...] | None:
    """The reaches of an axis given the pairs inside its classes: one for each piece of keys.

    table: ``[queries in strip order, members]``: does the query attend the j-th member of its
    class? keys: ``[queries in strip order, members]`` the members' positions, ``step`` apart.
    None where some strip's keys are more than ``most`` runs of consecutive members, or members a
    constant step apart, as one query has them where keys are folded and queries are not.
    """
    some = np.logical_or.reduceat(table, strips.offsets, axis=0)
    every = np.logical_and.reduceat(table, strips.offsets, axis=0)
    first, counts = _run(some)
    if counts is not None:
        return (_reach(table, strips, keys, step, every, first, counts),)
    gap = _gap(some)
    if gap is not None:
        return (_stepped(table, strips, keys, step, first, some.sum(axis=1, dtype=np.int64), gap),)
    edge = np.diff(np.pad(some, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    strip, begin = np.nonzero(edge == 1)
    end = np.nonzero(edge == -1)[1]
    number = np.arange(len(strip)) - np.searchsorted(strip, strip)
    if number.max() >= most:
        return None
    starts = np.zeros((int(number.max()) + 1, strips.strips), dtype=np.int64)
    lengths = np.zeros_like(starts)
    starts[number, strip], lengths[number, strip] = begin, end - begin
    member = np.arange(table.shape[1])
    made = []
    for first, counts in zip(starts, lengths, strict=True):
        inside = (member >= first[:, None]) & (member < (first + counts)[:, None])
        own = table & np.repeat(inside, strips.counts, axis=0)
        made.append(_reach(own, strips, keys, step, every & inside, first, counts))
    return tuple(made)


def _stepped(
    table: NDArray[np.bool_],
    strips: AxisTiling,
    keys: IntArray,
    step: int,
    first: IntArray,
    counts: IntArray,
    gap: int,
) -> AxisReach:
    """The reach of strips whose keys are every ``gap``-th member from ``first`` on."""
    number = np.arange(int(counts.max()))
    inside = np.repeat(number < counts[:, None], strips.counts, axis=0)
    at = np.repeat(first[:, None] + number * gap, strips.counts, axis=0)
    at = np.minimum(at, table.shape[1] - 1)
    own = np.take_along_axis(table, at, axis=1) & inside
    places = np.take_along_axis(keys, at, axis=1)
    every = np.logical_and.reduceat(own, strips.offsets, axis=0)
    return _reach(own, strips, places, step * gap, every, np.zeros_like(counts), counts)


def _reach(
    table: NDArray[np.bool_],
    strips: AxisTiling,
    keys: IntArray,
    step: int,
    every: NDArray[np.bool_],
    first: IntArray,
    counts: IntArray,
) -> AxisReach:
    """The reach of one piece of every strip: ``counts`` members from ``first``."""
    full_first, full_counts = _run(every)
    if full_counts is None:
        full_first, full_counts = first, np.zeros_like(counts)  # full keys in pieces: none promised
    starts = np.where(counts > 0, keys[strips.offsets, first], 0)
    inner = np.where(full_counts > 0, full_first - first, 0)
    pairs = int(table.sum())
    truth = _local(table, strips, first, counts)
    return AxisReach(starts, step, counts, inner, full_counts, lambda: pairs, lambda: truth)


def _local(
    table: NDArray[np.bool_], strips: AxisTiling, first: IntArray, counts: IntArray
) -> NDArray[np.bool_]:
    """Each strip's own part of the table, false beyond its queries and keys."""
    width = max(int(counts.max(initial=0)), 1)
    i, j = np.arange(strips.size), np.arange(width)
    rows = np.minimum(strips.offsets[:, None] + i, table.shape[0] - 1)
    columns = np.minimum(first[:, None] + j, table.shape[1] - 1)
    real = (i < strips.counts[:, None])[:, :, None] & (j < counts[:, None])[:, None, :]
    local: NDArray[np.bool_] = table[rows[:, :, None], columns[:, None, :]] & real
    return local


def everything(strips: AxisTiling, keys: int) -> AxisReach:
    """The reach of an axis that nothing constrains."""
    zeros = np.zeros(strips.strips, dtype=np.int64)
    counts = np.full(strips.strips, keys, dtype=np.int64)
    real = np.arange(strips.size) < strips.counts[:, None]
    table = (
        partial(np.repeat, real[:, :, None], keys, 2) if strips.length * keys <= 1 << 22 else None
    )
    return AxisReach(zeros, 1, counts, zeros, counts, lambda: strips.length * keys, table)


def _gap(rows: NDArray[np.bool_]) -> int | None:
    """How far the true places of every row are apart, where that is the same everywhere."""
    row, place = np.nonzero(rows)
    apart = np.diff(place)[np.diff(row) == 0]
    return int(apart[0]) if len(apart) and (apart == apart[0]).all() else None


def _run(rows: NDArray[np.bool_]) -> tuple[IntArray, IntArray | None]:
    """First true place and number of true ones of each row; None if they are not consecutive."""
    width = rows.shape[1]
    counts = rows.sum(axis=1, dtype=np.int64)
    first = np.where(counts > 0, rows.argmax(axis=1), 0).astype(np.int64)
    last = np.where(counts > 0, width - 1 - rows[:, ::-1].argmax(axis=1), -1)
    return first, counts if ((counts == 0) | (last - first == counts - 1)).all() else None
