"""Keys that come back after a period, beside the intervals of keys that other clauses give.

A head that sees every eighth block needs thousands of runs of a million keys. They are one comb:
a first run, how many there are, and how far apart. Runs that an interval touches, or that an end of
the clause cuts, join the intervals, so a comb has whole runs alone. Runs of one key are simply a
progression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.key_sets import KeySet
from attnlang.compiler.layout.cost import slots
from attnlang.compiler.layout.pieces import Interval, Needs, Sparse, attended, joined, pieces_of
from attnlang.compiler.layout.reach import AxisReach, Repeats
from attnlang.compiler.layout.tiling import AxisTiling

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
MOST_REACHES = 6
"""Intervals and combs of a strip; what needs more is left to tables of tiles."""


@dataclass(frozen=True)
class Comb:
    """A clause that allows keys of a set which has one run a period.

    low, high: the keys between which each strip needs those of the set ``[strips]``. whole_low,
    whole_high: those between which all its queries do. rows: makes the interval of every query.
    """

    keys: KeySet
    low: IntArray
    high: IntArray
    whole_low: IntArray
    whole_high: IntArray
    rows: Callable[[], Interval]

    def of(self, strip: IntArray) -> Comb:
        """The same with an entry for each of these strips."""
        return replace(
            self,
            low=self.low[strip],
            high=self.high[strip],
            whole_low=self.whole_low[strip],
            whole_high=self.whole_high[strip],
        )

    @property
    def run(self) -> tuple[int, int]:
        """The first key of a run, and how many it has."""
        starts, stops = self.keys.runs
        if len(starts) == 2:  # one run, over the end of the period
            return int(starts[1]), int(stops[0] + self.keys.period - starts[1])
        return int(starts[0]), int(stops[0] - starts[0])

    def cut(self, place: IntArray) -> tuple[BoolArray, IntArray, IntArray]:
        """Does a run go on at a place? If so, what of it the strips need."""
        first, length = self.run
        start = first + (place - first) // self.keys.period * self.keys.period
        inside = (place > start) & (place < start + length)
        inside &= (place >= self.low) & (place <= self.high)
        return inside, np.maximum(start, self.low), np.minimum(start + length, self.high)


def is_comb(keys: KeySet) -> bool:
    """Is a set one run of keys again and again: a single one, or shorter as slots of a tile than
    its period?"""
    starts, stops = keys.runs
    around = len(starts) == 2 and starts[0] == 0 and stops[1] == keys.period
    if 2 * keys.period > keys.size or not (len(starts) == 1 or around):
        return False
    length = int(np.count_nonzero(keys.holds))
    return keys.period > 1 and (length == 1 or slots(length) < keys.period)


def comb_pieces(comb: Comb, needs: Needs, strips: AxisTiling) -> tuple[AxisReach, ...] | None:
    """The reaches of a union of intervals and a comb, ascending; None when they are too many.

    needs: what the other clauses need.
    """
    every = np.arange(strips.strips, dtype=np.int64)
    found = [(needs.strip, needs.low, needs.high)]
    for place in (comb.low, comb.high, comb.whole_low, comb.whole_high):
        inside, start, stop = comb.cut(place)
        found.append((every[inside], start[inside], stop[inside]))
    strip, low, high = joined(*(np.concatenate(x) for x in zip(*found, strict=True)))
    # An interval that begins or ends inside a run takes all of the run that is needed.
    here = comb.of(strip)
    inside, start, _ = here.cut(low)
    low = np.where(inside, start, low)
    inside, _, stop = here.cut(high)
    high = np.where(inside, stop, high)
    sparse = Sparse(comb.keys, comb.rows, (comb.whole_low, comb.whole_high))
    solid = Needs(strip, low, high, needs.whole, needs.rows, sparse=sparse)
    pieces = pieces_of(solid, strips, masked=False)
    if pieces is None:
        return None
    made: list[AxisReach] = []
    begin = comb.low
    for piece in pieces:
        some = piece.counts > 0
        end = np.where(some, np.minimum(piece.starts, comb.high), begin)
        made += [*_between(comb, begin, end, strips), piece]
        begin = np.where(some, np.maximum(piece.starts + piece.counts, begin), begin)
    made += _between(comb, begin, comb.high, strips)
    made = [reach for reach in made if reach.counts.any()]
    return tuple(made) if len(made) <= MOST_REACHES else None


def _between(comb: Comb, begin: IntArray, end: IntArray, strips: AxisTiling) -> list[AxisReach]:
    """The whole runs between two places of every strip: those before the runs that all queries
    attend, these, and those after."""
    low = np.clip(comb.whole_low, begin, np.maximum(end, begin))
    high = np.clip(comb.whole_high, low, np.maximum(end, low))
    if comb.run[1] == 1:
        return [_progression(comb, begin, (low, high), end, strips)]
    return [
        _runs(comb, begin, low, strips, full=False),
        _runs(comb, low, high, strips, full=True),
        _runs(comb, high, end, strips, full=False),
    ]


def _runs(
    comb: Comb, begin: IntArray, end: IntArray, strips: AxisTiling, *, full: bool
) -> AxisReach:
    (first, length), period = comb.run, comb.keys.period
    number = -((first - begin) // period)
    times = np.maximum((end - length - first) // period + 1 - number, 0)
    starts = np.where(times > 0, first + number * period, 0)
    counts = np.where(times > 0, length, 0)
    stops = np.where(times > 0, starts + (times - 1) * period + length, 0)

    def count() -> int:
        if full:
            return int((strips.counts * times).sum()) * length
        return _attended(comb, starts, stops, strips)

    none = np.zeros_like(starts)
    repeats = Repeats(period, times)
    return AxisReach(starts, 1, counts, none, counts if full else none, count, repeats=repeats)


def _progression(
    comb: Comb, begin: IntArray, whole: Interval, end: IntArray, strips: AxisTiling
) -> AxisReach:
    """Single keys between two places of every strip. whole: those that all its queries attend."""
    first, period = comb.run[0], comb.keys.period
    start, low, high, stop = (-((first - x) // period) for x in (begin, *whole, end))
    counts = np.maximum(stop - start, 0)
    starts = np.where(counts > 0, first + start * period, 0)
    stops = np.where(counts > 0, starts + (counts - 1) * period + 1, 0)
    full = np.where(counts > 0, np.maximum(high - low, 0), 0)
    return AxisReach(
        starts, period, counts, np.where(full > 0, low - start, 0), full,
        partial(_attended, comb, starts, stops, strips),
    )  # fmt: skip


def _attended(comb: Comb, starts: IntArray, stops: IntArray, strips: AxisTiling) -> int:
    """Pairs of the comb between two places of every strip."""
    a, b = (np.repeat(x, strips.counts) for x in (starts, stops))
    return attended(comb.keys, comb.rows(), a, b)
