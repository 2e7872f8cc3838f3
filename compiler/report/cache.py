"""The KV cache of a causal pattern: how many keys some later query can still need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.report.keys import last_of
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.scaling import Counted

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cache:
    """tokens: keys to hold between two decoding steps, for the head that needs the most.

    at: the length it was counted at. grows: does a longer sequence need more? None: not known.
    """

    tokens: int
    at: int
    grows: bool | None


def cache_bound(relations: Sequence[Relation], counted: tuple[Counted, ...]) -> Cache | None:
    """The bound at the length asked for, or at the longest that could be counted.

    Only for causal self-attention over one axis: the caller makes sure of it.
    """
    scaled = [_most(x.relations) for x in counted[-2:]]
    grows = None
    if len(scaled) == 2 and scaled[0] is not None and scaled[1] is not None:
        grows = scaled[1] > scaled[0]
    here = _most(relations)
    if here is not None:
        return Cache(here, relations[0].q_len, grows)
    if scaled and scaled[-1] is not None:
        return Cache(scaled[-1], counted[-1].problem.q_len, grows)
    return None


def _most(relations: Sequence[Relation]) -> int | None:
    found = [live_keys(x) for x in relations]
    return None if None in found else max(x for x in found if x is not None)


def live_keys(relation: Relation) -> int | None:
    """After how many tokens at most are keys still needed: each from its place to its last query.

    None when the last query of each key cannot be counted.
    """
    found = last_of(relation.transposed())
    if found is None:
        return None
    last, exact = found
    return alive(last) if exact else None


def alive(last: IntArray) -> int:
    """The most keys that stand between their own place and their last query. last: of each key, -1
    where there is none."""
    # Between step t and step t + 1, key j is needed when j <= t < last query of j.
    needed = last > np.arange(len(last), dtype=np.int64)
    # One key comes with each step, and those go that it was the last to need.
    dropped = np.bincount(last[needed], minlength=len(last))
    return int(np.cumsum(needed.astype(np.int64) - dropped).max(initial=0))
