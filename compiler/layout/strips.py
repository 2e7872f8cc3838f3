"""The reach of a sequence's strips from clauses solved for the key: no pair is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attnlang.compiler.analysis.key_intervals import ClauseBounds, edges, row_edges
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.layout.intervals import MemberRows, interval_reach
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling


def strip_reach(
    bounds: ClauseBounds, q: ExtentTiling, k: ExtentTiling, known: Known
) -> AxisReach | None:
    """The keys that each strip of queries needs under one clause, to the single key.

    None when a strip's keys have gaps.
    """
    axis = q.axes[0]
    if not bounds.corners:
        low, high = row_edges(bounds, q, k, known)
        reach = interval_reach(MemberRows(1, np.zeros_like(low), low, np.maximum(high, low)), axis)
        reach = None if reach is None else replace(reach, table=None)
    else:
        begin = axis.starts + q.extent.origin[0]
        end = begin + axis.counts - 1
        start, stop = edges(bounds, q, k, known, begin, end)
        if bounds.keys is not None:
            start, stop = bounds.keys.shrink(start, stop)
        stop = np.maximum(stop, start)
        last_start, first_stop = edges(bounds, q, k, known, end, begin)
        inner = np.maximum(last_start, start)
        full = np.maximum(np.minimum(first_stop, stop) - inner, 0)

        def count() -> int:
            low, high = row_edges(bounds, q, k, known)
            return int(np.maximum(high - low, 0).sum())

        start = np.where(stop > start, start, 0)
        stop = np.maximum(stop, start)
        reach = AxisReach(start, 1, stop - start, np.where(full > 0, inner - start, 0), full, count)
    if reach is None or bounds.keys is None:
        return reach
    counted = np.diff(
        bounds.keys.before[np.stack((reach.starts, reach.starts + reach.counts))], axis=0
    )
    return reach if np.array_equal(counted[0], reach.counts) else None
