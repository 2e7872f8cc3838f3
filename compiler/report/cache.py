"""The KV cache of a causal pattern: how many keys some later query can still need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.scaling import Counted


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
    by_key = rows_of(relation.transposed())
    if by_key is None or not by_key.exact:
        return None
    places = np.arange(relation.k_len, dtype=np.int64)
    # Between step t and step t + 1, key j is needed when j <= t < last query of j.
    needed = by_key.last > places
    change = np.zeros(relation.k_len + 1, dtype=np.int64)
    np.add.at(change, places[needed], 1)
    np.add.at(change, by_key.last[needed], -1)
    return int(np.cumsum(change).max(initial=0))
