"""Tile pairs along the diagonals of an axis on which a predicate moves with its tokens.

Where moving query and key together by one tile changes nothing, a pair of tiles is what every pair
further down its diagonal is. So the first tiles of either side against all of the other's tell of
all pairs, and only the last tiles, which may be shorter, are asked for themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling

Kinds = NDArray[np.uint8]
FEWEST = 8
"""Tiles of an axis from which on its diagonals are worth it: more than its two ends."""


def moving_axis(predicate: Expr, q: ExtentTiling, k: ExtentTiling) -> int | None:
    """The axis of the most tiles that are cut alike on both sides and that the predicate moves
    along; None where there is none."""
    if q.extent.axes != k.extent.axes:
        return None
    order = sorted(range(len(q.axes)), key=lambda i: -q.axes[i].strips)
    for i in order:
        a, b = q.axes[i], k.axes[i]
        alike = a.contiguous and a.strips == b.strips >= FEWEST and (a.starts == b.starts).all()
        if alike and shift_invariant(predicate, a.size, a.size, q.extent.axes[i]):
            return i
    return None


def ends(tiling: ExtentTiling, axis: int) -> ExtentTiling:
    """The first tiles of an axis and the last."""
    return tiling.part(axis, np.array([0, tiling.axes[axis].strips - 1]))


def along(by_row: Kinds, by_column: Kinds, q: ExtentTiling, k: ExtentTiling, axis: int) -> Kinds:
    """The kinds of all pairs ``[q tiles, k tiles]``, from those of the ends of the queries' axis
    against all keys, and of all queries against the ends of the keys' axis."""
    n = len(q.axes)
    rows, columns = (tuple(a.strips for a in x.axes) for x in (q, k))
    two = tuple(2 if i == axis else r for i, r in enumerate(rows))
    wide = np.moveaxis(by_row.reshape(*two, *columns), (axis, n + axis), (0, -1))
    two = tuple(2 if i == axis else c for i, c in enumerate(columns))
    tall = np.moveaxis(by_column.reshape(*rows, *two), (axis, n + axis), (-1, 0))
    many = rows[axis]
    # A diagonal from the lower left corner's to the upper right one's.
    diagonals = np.concatenate((tall[0][..., :0:-1], wide[0]), axis=-1)
    made = np.empty((*rows, *columns), dtype=np.uint8)
    whole = np.moveaxis(made, (axis, n + axis), (0, -1))
    for row in range(many - 1):
        whole[row] = diagonals[..., many - 1 - row : 2 * many - 1 - row]
    whole[many - 1] = wide[1]
    whole[..., many - 1] = np.moveaxis(tall[1], -1, 0)
    return made.reshape(q.tiles, k.tiles)
