"""Walking visited tiles with their element masks, whatever segments they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.sema.segments import specialise

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """Tile pairs of two segments, ``rows`` and ``columns`` of their own tiles. top, left: how many
    tiles of other segments come before them."""

    predicate: Expr
    q: ExtentTiling
    k: ExtentTiling
    top: int
    left: int
    rows: IntArray
    columns: IntArray


def blocks_of(plan: Plan, group: HeadPlan, rows: IntArray, columns: IntArray) -> Iterator[Block]:
    """The given tile pairs, segment by segment."""
    top = 0
    for q in group.layout.q.extents:
        left = 0
        for k in group.layout.k.extents:
            r, c = rows - top, columns - left
            here = np.flatnonzero((r >= 0) & (r < q.tiles) & (c >= 0) & (c < k.tiles))
            if len(here):
                predicate = specialise(group.where, q.extent.segment, k.extent.segment)
                yield Block(predicate, q, k, top, left, r[here], c[here])
            left += k.tiles
        top += q.tiles


def masks_of(
    plan: Plan, group: HeadPlan, rows: IntArray, columns: IntArray
) -> Iterator[tuple[IntArray, IntArray, NDArray[np.bool_]]]:
    """Chunks of ``(rows, columns, mask [pairs, q slots, k slots])`` for the given tile pairs.

    Masks are True where a real pair attends; slots are those of the whole side's capacity.
    """
    wide, deep = group.layout.q.capacity, group.layout.k.capacity
    for x in blocks_of(plan, group, rows, columns):
        pad = ((0, 0), (0, wide - x.q.capacity), (0, deep - x.k.capacity))
        padded = wide > x.q.capacity or deep > x.k.capacity
        elements = Elements(x.q, x.k, plan.known)
        for part, value, real in elements.masks(x.predicate, x.rows, x.columns):
            found = value & real
            yield (
                x.rows[part] + x.top,
                x.columns[part] + x.left,
                np.pad(found, pad) if padded else found,
            )
