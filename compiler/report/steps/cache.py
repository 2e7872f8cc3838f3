"""What a decoding step needs of the past, over all steps of a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.report.cache import alive
from attnlang.compiler.report.keys import last_of
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.steps.model import CachedTensor

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reading:
    """tensor: what a step reads. relations: its classes of heads. queries: of the program."""

    tensor: str
    relations: tuple[Relation, ...]


def cached(readings: Iterable[Reading], sequence: Mapping[str, bool]) -> tuple[CachedTensor, ...]:
    """The tokens of every tensor that some later query still needs, at most, for the head that
    needs the most. sequence: by tensor, are its tokens those of the queries?

    Of a sequence a token is needed from its place to its last query. Of a pool it may be needed
    from the first query on that sees it, so all that are ever seen are counted.
    """
    last: dict[str, IntArray] = {}
    for reading in readings:
        for relation in reading.relations:
            here = _last_queries(relation)
            there = last.get(reading.tensor)
            last[reading.tensor] = here if there is None else np.maximum(here, there)
    return tuple(
        CachedTensor(name, alive(queries) if sequence[name] else int((queries >= 0).sum()))
        for name, queries in last.items()
    )


def _last_queries(relation: Relation) -> IntArray:
    """The last query of every key, -1 where there is none; the last of all where not counted."""
    found = last_of(relation.transposed())
    if found is None:
        return np.full(relation.k_len, relation.q_len - 1, dtype=np.int64)
    return found[0]
