"""What a sequence's strips need, from clauses solved for the key: no pair is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnlang.compiler.analysis.key_intervals import ClauseBounds, edges, row_edges
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.layout.pieces import Interval, Needs, of_rows, pieces_of
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling


def strip_reaches(
    union: Sequence[ClauseBounds], q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[AxisReach, ...] | None:
    """The keys that each strip of queries needs under a union of clauses, to the single key.

    None when they are too many pieces, or when sets of keys leave holes in them.
    """
    parts = [_needs(bounds, q, k, known) for bounds in union]
    if any(not _solid(b, n) for b, n in zip(union, parts, strict=True)):
        return None
    strip, low, high = (
        np.concatenate([getattr(n, field) for n in parts]) if len(parts) > 1
        else getattr(parts[0], field)
        for field in ("strip", "low", "high")
    )  # fmt: skip
    whole = [x for n in parts for x in n.whole]
    needs = Needs(strip, low, high, whole, lambda: [x for n in parts for x in n.rows()])
    return pieces_of(needs, q.axes[0], masked=False)


def _needs(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Needs:
    axis = q.axes[0]
    if not bounds.corners:
        return of_rows([row_edges(bounds, q, k, known)], axis)
    begin = axis.starts + q.extent.origin[0]
    end = begin + axis.counts - 1
    start, stop = edges(bounds, q, k, known, begin, end)
    if bounds.keys is not None:
        start, stop = bounds.keys.shrink(start, stop)
    some = np.flatnonzero(stop > start)

    def rows() -> list[Interval]:
        return [row_edges(bounds, q, k, known)]

    return Needs(some, start[some], stop[some], [edges(bounds, q, k, known, end, begin)], rows)


def _solid(bounds: ClauseBounds, needs: Needs) -> bool:
    """Do all keys in a clause's intervals count?"""
    return bounds.keys is None or bounds.keys.solid(needs.low, needs.high)
