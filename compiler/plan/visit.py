"""Walking visited tiles with their element masks, whatever segments they lie in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]


def masks_of(
    plan: Plan, group: HeadPlan, rows: IntArray, columns: IntArray
) -> Iterator[tuple[IntArray, IntArray, NDArray[np.bool_]]]:
    """Chunks of ``(rows, columns, mask [pairs, q slots, k slots])`` for the given tile pairs.

    Masks are True where a real pair attends; slots are those of the whole side's capacity.
    """
    q, k = plan.layout.q, plan.layout.k
    top = 0
    for qx in q.extents:
        left = 0
        for kx in k.extents:
            inside = (
                (rows >= top)
                & (rows < top + qx.tiles)
                & (columns >= left)
                & (columns < left + kx.tiles)
            )
            here = np.flatnonzero(inside)
            if len(here):
                predicate = specialise(group.where, qx.extent.segment, kx.extent.segment)
                r, c = rows[here] - top, columns[here] - left
                pad = ((0, 0), (0, q.capacity - qx.capacity), (0, k.capacity - kx.capacity))
                for part, value, real in Elements(qx, kx, plan.known).masks(predicate, r, c):
                    yield r[part] + top, c[part] + left, np.pad(value & real, pad)
            left += kx.tiles
        top += qx.tiles
