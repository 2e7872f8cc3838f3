"""Keys that count by themselves, whatever the query: flags of tokens, every eighth block.

A set that repeats is held by one of its periods, however long the sequence is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.shift import divisors, shift_invariant
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.problem.problem import Extent

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys of a segment that count.

    size: of the segment. holds ``[period]``: do the first keys count? From there on it repeats.
    """

    size: int
    holds: BoolArray

    @property
    def period(self) -> int:
        return len(self.holds)

    @cached_property
    def before(self) -> IntArray:
        """How many of the first period count before a place of it ``[period + 1]``."""
        return np.concatenate(([0], np.cumsum(self.holds)))

    @cached_property
    def places(self) -> IntArray:
        """Those of the first period that count, ascending."""
        return np.flatnonzero(self.holds)

    @cached_property
    def runs(self) -> tuple[IntArray, IntArray]:
        """First keys of the runs of one period, and the keys after the last."""
        edge = np.diff(np.concatenate(([False], self.holds, [False])).astype(np.int8))
        return np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)

    def below(self, place: IntArray) -> IntArray:
        """How many keys before a place count."""
        place = np.minimum(np.maximum(place, 0), self.size)
        if self.period >= self.size:
            return self.before[place]
        whole = place // self.period  # which is faster than divmod
        below: IntArray = whole * len(self.places) + self.before[place - whole * self.period]
        return below

    def shrink(self, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray]:
        """Intervals cut to their first and last key that counts; empty where none does."""
        if not len(self.places):
            return low, low
        i, j = self.below(low), self.below(high)
        some = i < j
        first = np.where(some, self._at(i), low)
        return first, np.where(some, self._at(j - 1) + 1, first)

    def first(self, low: IntArray) -> IntArray:
        """The first key from a place on that counts, where there is one."""
        return self._at(self.below(low)) if len(self.places) else low

    def last(self, high: IntArray) -> IntArray:
        """The last key before a place that counts, where there is one."""
        return self._at(self.below(high) - 1) if len(self.places) else high

    def _at(self, number: IntArray) -> IntArray:
        """The places of keys that count, by their number among those."""
        whole = number // len(self.places)
        at: IntArray = whole * self.period + self.places[number - whole * len(self.places)]
        return at

    def solid(self, low: IntArray, high: IntArray) -> bool:
        """Do all keys of these intervals count?"""
        high = np.maximum(high, low)
        return bool((self.below(high) - self.below(low) == high - low).all())

    def tiles(self, size: int) -> BoolArray:
        """Which tiles of ``size`` keys hold one that counts."""
        cuts = np.append(np.arange(0, self.size, size, dtype=np.int64), self.size)
        some: BoolArray = np.diff(self.below(cuts)) > 0
        return some


def key_set(literals: Sequence[Expr], k: Extent, known: Known) -> KeySet:
    """The keys of a segment with one axis on which literals that read the key alone all hold."""
    period = min(math.lcm(*(_period(x, k.size) for x in literals)), k.size)
    places = np.arange(period, dtype=np.int64)

    def tokens(x: e.TokenInput) -> Any:
        return known.tokens[x.name, x.side]

    leaf = axis_leaf({}, {k.axes[0]: places + k.origin[0]}, tokens, known)
    holds = np.ones(period, dtype=bool)
    for literal in literals:
        holds &= np.asarray(evaluate(literal, leaf)).astype(bool)
    return KeySet(k.size, holds)


def _period(literal: Expr, size: int) -> int:
    """After how many keys a literal is proved to repeat; ``size`` where it is not."""
    # Blocks of 64 of which every eighth counts repeat after 512 keys.
    period = math.prod(divisors(literal))
    if not 0 < period < size:
        return size
    return period if shift_invariant(literal, 0, period) else size
