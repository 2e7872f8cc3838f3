"""Tile pairs that are copies of one another: a predicate that moves with its tokens is asked once.

Where moving query and key together by a whole number of tiles changes nothing, a pair of tiles is
what every pair further down its diagonal is, so one of them stands for all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling

IntArray = NDArray[np.int64]


def representatives(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, rows: IntArray, columns: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Rows and columns of the tile pairs to ask, and for each given pair which of them it copies.

    Tiles shorter than the others stand for themselves alone.
    """
    if len(rows) and len(q.axes) == len(k.axes) == 1:
        a, b = q.axes[0], k.axes[0]
        step = math.lcm(a.size, b.size)
        if a.contiguous and b.contiguous and shift_invariant(predicate, step, step):
            by_row, by_column = step // a.size, step // b.size
            whole = (a.counts[rows] == a.size) & (b.counts[columns] == b.size)
            back = np.where(whole, np.minimum(rows // by_row, columns // by_column), 0)
            place = (rows - back * by_row) * b.strips + columns - back * by_column
            distinct, copies = np.unique(place, return_inverse=True)
            return distinct // b.strips, distinct % b.strips, copies.ravel()
    return rows, columns, np.arange(len(rows))
