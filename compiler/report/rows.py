"""The keys of every query: how many, the first and the last. Every figure is read off these.

Solved for key intervals where the predicate allows (:mod:`solved`), which takes time and memory
in the number of queries; element by element where that is small enough; not at all otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
ELEMENTS = 1 << 24
"""Pairs that are looked at one by one, at most."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One entry a query, in sequence order ``[Nq]``.

    keys: how many it attends. first, last: their places in the sequence; ``Nk`` and -1 where
    there is none. exact: False when some of these keys depend on tensors that are not known:
    then a query attends at most these.
    """

    keys: IntArray
    first: IntArray
    last: IntArray
    exact: bool = True

    @property
    def pairs(self) -> int:
        return int(self.keys.sum())


def beside(parts: Iterable[Rows]) -> Rows:
    """The same queries with the keys of several segments."""
    found = tuple(parts)
    if len(found) == 1:
        return found[0]
    return Rows(
        np.sum([p.keys for p in found], axis=0, dtype=np.int64),
        np.min([p.first for p in found], axis=0),
        np.max([p.last for p in found], axis=0),
        all(p.exact for p in found),
    )


def below(parts: Iterable[Rows]) -> Rows:
    """The queries of several segments, one segment after another."""
    found = tuple(parts)
    if len(found) == 1:
        return found[0]
    return Rows(
        np.concatenate([p.keys for p in found]),
        np.concatenate([p.first for p in found]),
        np.concatenate([p.last for p in found]),
        all(p.exact for p in found),
    )


def of_mask(mask: NDArray[np.bool_]) -> Rows:
    """The rows of a dense mask ``[Nq, Nk]``."""
    keys = mask.sum(axis=1, dtype=np.int64)
    columns = mask.shape[1]
    some = keys > 0
    first = np.where(some, mask.argmax(axis=1), columns)
    last = np.where(some, columns - 1 - mask[:, ::-1].argmax(axis=1), -1)
    return Rows(keys, first, last)
