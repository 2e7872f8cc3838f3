"""Tile pairs that are copies of one another: a predicate that moves with its tokens is asked once.

Where moving query and key together by a whole number of tiles changes nothing, a pair of tiles is
what every pair further down its diagonal is, so one of them stands for all.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.shift import divisors, shift_invariant
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling

IntArray = NDArray[np.int64]


def representatives(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, rows: IntArray, columns: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Rows and columns of the tile pairs to ask, and for each given pair which of them it copies.

    Tiles shorter than the others stand for themselves alone.
    """
    axes: tuple[str | None, ...] = q.extent.axes
    if len(axes) == len(k.extent.axes) == 1:
        axes = (None,)  # whatever either is called
    elif axes != k.extent.axes:
        return rows, columns, np.arange(len(rows))
    if not len(rows):
        return rows, columns, np.arange(0)
    shapes = tuple(a.strips for a in q.axes), tuple(a.strips for a in k.axes)
    at = [list(np.unravel_index(x, s)) for x, s in zip((rows, columns), shapes, strict=True)]
    moves = False
    for i, (a, b) in enumerate(zip(q.axes, k.axes, strict=True)):
        step = _step(predicate, a, b, axes[i])
        if step is not None:
            by_row, by_column = step // a.size, step // b.size
            row, column = at[0][i], at[1][i]
            whole = (a.counts[row] == a.size) & (b.counts[column] == b.size)
            back = np.where(whole, np.minimum(row // by_row, column // by_column), 0)
            at[0][i], at[1][i] = row - back * by_row, column - back * by_column
            moves = True
    if not moves:
        return rows, columns, np.arange(len(rows))
    row, column = (np.ravel_multi_index(x, s) for x, s in zip(at, shapes, strict=True))
    distinct, copies = np.unique(row * k.tiles + column, return_inverse=True)
    return distinct // k.tiles, distinct % k.tiles, copies.ravel()


def _step(predicate: Expr, a: AxisTiling, b: AxisTiling, axis: str | None) -> int | None:
    """By how many tokens of an axis query and key may move together, in whole tiles of both."""
    if not (a.contiguous and b.contiguous):
        return None
    tiles = math.lcm(a.size, b.size)
    for step in (tiles, math.lcm(tiles, *divisors(predicate))):
        if step < min(a.length, b.length) and shift_invariant(predicate, step, step, axis):
            return step
    return None
