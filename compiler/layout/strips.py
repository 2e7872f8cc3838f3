"""What a sequence's strips need, from clauses solved for the key: no pair is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnlang.compiler.analysis.key_intervals import ClauseBounds, edges, row_edges
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.layout.combs import Comb, comb_pieces, is_comb
from attnlang.compiler.layout.pieces import Interval, Needs, of_rows, pieces_of
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling

_NONE = np.zeros(0, dtype=np.int64)


def strip_reaches(
    union: Sequence[ClauseBounds], q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[AxisReach, ...] | None:
    """The keys that each strip of queries needs under a union of clauses, to the single key.

    None when they are too many pieces, or when sets of keys leave holes that come back without a
    period.
    """
    parts = [_needs(bounds, q, k, known) for bounds in union]
    solid = [n for b, n in zip(union, parts, strict=True) if _solid(b, n)]
    needs = _together(solid)
    if len(solid) == len(parts):
        return pieces_of(needs, q.axes[0], masked=False)
    combs = [_comb(b, q, k, known) for b, n in zip(union, parts, strict=True) if not _solid(b, n)]
    if len(combs) > 1 or combs[0] is None:
        return None
    return comb_pieces(combs[0], needs, q.axes[0])


def _together(parts: Sequence[Needs]) -> Needs:
    """What clauses need together."""
    if len(parts) == 1:
        return parts[0]
    strip, low, high = (
        np.concatenate([_NONE, *(getattr(n, field) for n in parts)])
        for field in ("strip", "low", "high")
    )
    whole = [x for n in parts for x in n.whole]
    return Needs(strip, low, high, whole, lambda: [x for n in parts for x in n.rows()])


def _comb(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Comb | None:
    """A clause whose keys come back after a period; None where they do not, or where a strip's ends
    do not tell of its other queries."""
    keys = bounds.keys
    if keys is None or not bounds.corners or not is_comb(keys):
        return None
    axis = q.axes[0]
    begin = axis.starts + q.extent.origin[0]
    end = begin + axis.counts - 1
    needed, whole = edges(bounds, q, k, known, begin, end), edges(bounds, q, k, known, end, begin)
    (low, high), (whole_low, whole_high) = (
        (np.clip(a, 0, k.extent.size), np.clip(b, 0, k.extent.size)) for a, b in (needed, whole)
    )
    return Comb(keys, low, high, whole_low, whole_high, lambda: row_edges(bounds, q, k, known))


def _needs(bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known) -> Needs:
    axis = q.axes[0]
    if not bounds.corners:
        return of_rows([row_edges(bounds, q, k, known)], axis)
    begin = axis.starts + q.extent.origin[0]
    end = begin + axis.counts - 1
    start, stop = edges(bounds, q, k, known, begin, end)
    whole = edges(bounds, q, k, known, end, begin)
    if bounds.keys is not None:
        start, stop = bounds.keys.shrink(start, stop)
        whole = np.maximum(whole[0], start), np.minimum(whole[1], stop)
    some = np.flatnonzero(stop > start)

    def rows() -> list[Interval]:
        return [row_edges(bounds, q, k, known)]

    return Needs(some, start[some], stop[some], [whole], rows)


def _solid(bounds: ClauseBounds, needs: Needs) -> bool:
    """Do all keys in a clause's intervals count?"""
    return bounds.keys is None or bounds.keys.solid(needs.low, needs.high)
