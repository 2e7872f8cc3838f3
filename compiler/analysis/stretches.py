"""Runs of queries whose keys are one run too: all of it for each, or one more for each query.

A causal sequence is one such stretch, packed documents are one each, blocks that see whole blocks
too. Kernels of dense attention take them as they are, without a tile or a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.key_intervals import clause_bounds, row_edges
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.analysis.rows import by_coordinate
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling, contiguous
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Queries and keys as places in the sequences.

    causal: query i of the stretch attends its keys 0 to i, and there are as many of either;
    otherwise every query attends every key.
    """

    queries: slice
    keys: slice
    causal: bool


def stretches(
    where: Expr, q: Extent, k: Extent, known: Known, most: float
) -> tuple[Stretch, ...] | None:
    """The stretches of two segments, which hold every pair of ``where`` and no other; None where
    there are more than ``most``, or it is no such union, or not known to be."""
    if len(q.axes) != 1 or len(k.axes) != 1 or q.size == 0 or k.size == 0:
        return None
    queries, keys = _row(q), _row(k)
    predicate = by_coordinate(specialise(where, q.segment, k.segment), queries, keys)
    found = clauses(predicate)
    if found is None or len(found) != 1:
        return None
    bounds = clause_bounds(found[0], queries, keys, known)
    if bounds is None:
        return None
    low, high = row_edges(bounds, queries, keys, known)
    if bounds.keys is not None and not bounds.keys.solid(low, high):
        return None  # not every key between them counts
    return _cut(low, np.maximum(high, low), q.start, k.start, most)


def _row(extent: Extent) -> ExtentTiling:
    return ExtentTiling(extent, (contiguous(extent.size, extent.size),))


def _cut(
    low: IntArray, high: IntArray, q_start: int, k_start: int, most: float
) -> tuple[Stretch, ...] | None:
    """Keys ``low <= k < high`` of every query as stretches."""
    grows = np.diff(high)
    new = (np.diff(low) != 0) | ((grows != 0) & (grows != 1))
    new[1:] |= ~new[:-1] & (grows[1:] != grows[:-1])
    first = np.concatenate(([0], np.flatnonzero(new) + 1))
    last = np.append(first[1:], len(low)) - 1
    causal = (high[last] > high[first]) | (high[first] - low[first] == 1) & (first == last)
    if len(first) > most or (causal & (high[first] - low[first] != 1)).any():
        return None
    return tuple(
        Stretch(
            slice(q_start + int(a), q_start + int(b) + 1),
            slice(k_start + int(low[a]), k_start + int(high[b])),
            bool(c),
        )
        for a, b, c in zip(first, last, causal, strict=True)
        if high[b] > low[a]
    )
