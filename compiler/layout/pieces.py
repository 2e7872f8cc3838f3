"""Intervals of keys put together: for every strip of queries a few that do not overlap.

Clauses of a union each give a strip an interval, or every query one of its own. What touches
becomes one; what is left, such as attention sinks beside a window, are the strip's pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.key_sets import KeySet
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import AxisTiling

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Interval: TypeAlias = tuple[IntArray, IntArray]
"""First keys, and the keys after the last."""

MOST_PIECES = 4
"""Pieces of a strip's keys; patterns that need more are left to tables of tiles."""


@dataclass(frozen=True)
class Sparse:
    """A clause of which only the keys of a set count. rows: makes the interval in which each query
    attends those. whole: of every strip, the one in which all its queries do."""

    keys: KeySet
    rows: Callable[[], Interval]
    whole: Interval


@dataclass(frozen=True)
class Needs:
    """What the strips of an axis need, counted in members of the queries' class of keys.

    strip, low, high: intervals of strips, in any order; they may overlap, none is empty.
    whole: for each clause and strip the members that all its queries attend.
    rows: makes each clause's interval for every query, in strip order.
    step, first: member ``u`` of a strip is the key at ``step * u + first``.
    sparse: keys of a set that are needed beside these.
    """

    strip: IntArray
    low: IntArray
    high: IntArray
    whole: Sequence[Interval]
    rows: Callable[[], Sequence[Interval]]
    step: int = 1
    first: IntArray | int = 0
    sparse: Sparse | None = None


def pieces_of(needs: Needs, strips: AxisTiling, *, masked: bool) -> tuple[AxisReach, ...] | None:
    """The reaches that together are what each strip needs, ascending; None if they are too many.

    masked: can they tell which query attends which key? (:attr:`AxisReach.truth`)
    """
    strip, low, high = joined(needs.strip, needs.low, needs.high)
    new = np.ones(len(strip), dtype=bool)
    new[1:] = strip[1:] != strip[:-1]
    begin = np.flatnonzero(new)
    number = np.arange(len(strip)) - np.repeat(begin, np.diff(np.append(begin, len(strip))))
    many = int(number.max(initial=0)) + 1
    if many > MOST_PIECES:
        return None
    starts = np.zeros((many, strips.strips), dtype=np.int64)
    stops = np.zeros_like(starts)
    starts[number, strip], stops[number, strip] = low, high
    return tuple(_reach(needs, strips, a, b, masked) for a, b in zip(starts, stops, strict=True))


def _reach(
    needs: Needs, strips: AxisTiling, start: IntArray, stop: IntArray, masked: bool
) -> AxisReach:
    full_start, full = start, np.zeros_like(start)
    whole = list(needs.whole)
    if needs.sparse is not None:
        keys, (low, high) = needs.sparse.keys, needs.sparse.whole
        one_run = keys.below(stop) - keys.below(start) == stop - start
        whole.append((low, np.where(one_run, high, low)))
    for low, high in whole:
        a = np.maximum(low, start)
        n = np.maximum(np.minimum(high, stop) - a, 0)
        full_start, full = np.where(n > full, a, full_start), np.maximum(n, full)
    return AxisReach(
        np.where(stop > start, needs.first + start * needs.step, 0),
        needs.step,
        stop - start,
        np.where(full > 0, full_start - start, 0),
        full,
        partial(_count, needs, strips, start, stop),
        partial(_truth, needs, strips, start, stop) if masked else None,
    )


def joined(strip: IntArray, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Intervals of one strip that overlap or touch as one; strips and places ascend."""
    if (strip[1:] > strip[:-1]).all():
        return strip, low, high
    offset = strip * (int(high.max()) + 1)
    begin = low + offset
    if (begin[1:] < begin[:-1]).any():
        order = np.argsort(begin, kind="stable")
        strip, low, high, offset = strip[order], low[order], high[order], offset[order]
    reach = np.maximum.accumulate(high + offset)
    new = np.ones(len(strip), dtype=bool)
    new[1:] = low[1:] + offset[1:] > reach[:-1]
    first = np.flatnonzero(new)
    return strip[first], low[first], np.maximum.reduceat(high, first)


def _count(needs: Needs, strips: AxisTiling, start: IntArray, stop: IntArray) -> int:
    """Pairs of a piece: the union of every query's intervals, inside it, and what of a set of keys
    lies between these."""
    a, b = np.repeat(start, strips.counts), np.repeat(stop, strips.counts)
    rows = [(np.clip(low, a, b), np.minimum(high, b)) for low, high in needs.rows()]
    if len(rows) == 1 and needs.sparse is None:
        return int(np.maximum(rows[0][1] - rows[0][0], 0).sum())
    if rows:
        low, high = (np.stack(ends, axis=1) for ends in zip(*rows, strict=True))
        order = np.argsort(low, axis=1)
        low, high = (np.take_along_axis(x, order, axis=1) for x in (low, high))
        rows = [(low[:, i], high[:, i]) for i in range(low.shape[1])]
    total, reach = 0, a
    between = _between(needs.sparse)
    for low, high in rows:
        total += between(reach, low)
        reach = np.maximum(reach, low)
        total += int(np.maximum(high - reach, 0).sum())
        reach = np.maximum(reach, high)
    return total + between(reach, b)


def _between(sparse: Sparse | None) -> Callable[[IntArray, IntArray], int]:
    """Counts what every query attends of a set between two places."""
    if sparse is None:
        return lambda a, b: 0
    return partial(attended, sparse.keys, sparse.rows())


def attended(keys: KeySet, rows: Interval, a: IntArray, b: IntArray) -> int:
    """Keys of a set that every query attends between two places of its own, added up."""
    inside = keys.below(np.minimum(b, rows[1])) - keys.below(np.maximum(a, rows[0]))
    return int(np.maximum(inside, 0).sum())


def _truth(needs: Needs, strips: AxisTiling, start: IntArray, stop: IntArray) -> BoolArray:
    """Which query of a strip attends which key of the piece ``[strips, size, longest]``."""
    i = np.minimum(strips.offsets[:, None] + np.arange(strips.size), strips.length - 1)
    real = np.arange(strips.size) < strips.counts[:, None]
    j = np.arange(max(int((stop - start).max(initial=0)), 1)) + start[:, None]
    inside = np.zeros((*i.shape, j.shape[1]), dtype=bool)
    for low, high in needs.rows():
        inside |= (j[:, None, :] >= low[i][:, :, None]) & (j[:, None, :] < high[i][:, :, None])
    return inside & real[:, :, None] & (j < stop[:, None])[:, None, :]


def of_rows(
    rows: Sequence[Interval], strips: AxisTiling, step: int = 1, first: IntArray | int = 0
) -> Needs:
    """The needs of strips whose queries' intervals are known, one for each clause."""
    of_query = np.repeat(np.arange(strips.strips), strips.counts)
    flat: list[list[IntArray]] = [[], [], []]
    whole = []
    for low, high in rows:
        solid = high > low
        for part, values in zip(flat, (of_query, low, high), strict=True):
            part.append(values[solid])
        whole.append((_by_strip(np.maximum, low, strips), _by_strip(np.minimum, high, strips)))
    strip, low, high = (np.concatenate(part) for part in flat)
    return Needs(strip, low, high, whole, lambda: rows, step, first)


def _by_strip(join: np.ufunc, values: IntArray, strips: AxisTiling) -> IntArray:
    """The extreme of every strip's queries. Strips of one size are rows: that is much faster."""
    if strips.strips * strips.size == len(values):
        found: IntArray = join.reduce(values.reshape(strips.strips, strips.size), axis=1)
        return found
    found = join.reduceat(values, strips.offsets)
    return found
