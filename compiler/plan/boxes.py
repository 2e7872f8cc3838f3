"""Boxes: plans whose query tiles each need one box of keys, known in closed form axis by axis.

This is most of the literature: windows, blocks, grids, dilation, axial attention, causal rows
and their conjunctions. The plan is O(sum of axis strips); tiles, pairs and waste are products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.layout.cost import slots
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BoxTable:
    """One box of keys for every query tile.

    q: the query tiles. reaches: for each axis, in order, the keys of each of its strips.
    k_tile: extents of a key tile; tiles are walked from each box's own corner.
    """

    q: ExtentTiling
    reaches: tuple[AxisReach, ...]
    k_tile: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.q.tiles

    @property
    def nbytes(self) -> int:
        return sum(r.nbytes for r in self.reaches)

    @property
    def area(self) -> int:
        """Slots of one pair of tiles, padding included."""
        return slots(self.q.capacity) * slots(math.prod(self.k_tile))

    @cached_property
    def pairs(self) -> int:
        """Attending pairs of one head: the axes' counts multiply."""
        return math.prod(r.pairs for r in self.reaches)

    def tiles(self) -> dict[str, int]:
        """Full and partial key tiles visited, and what an exhaustive walk would add as empty."""
        sized = list(zip(self.reaches, self.k_tile, strict=True))
        visited = math.prod(int(r.tiles(t).sum()) for r, t in sized)
        full = math.prod(int(r.full_tiles(t).sum()) for r, t in sized)
        keys = [int((r.starts + r.counts * r.step).max(initial=0)) for r in self.reaches]
        every = self.rows * math.prod(-(-n // t) for n, t in zip(keys, self.k_tile, strict=True))
        return {"full": full, "partial": visited - full, "empty": max(every - visited, 0)}

    def per_row(self, of: Callable[[AxisReach], IntArray]) -> list[IntArray]:
        """A per-strip quantity of every axis, spread over all query tiles ``[rows]`` each."""
        shape = tuple(a.strips for a in self.q.axes)
        spread = []
        for i, reach in enumerate(self.reaches):
            values = of(reach).reshape([-1 if j == i else 1 for j in range(len(shape))])
            spread.append(np.broadcast_to(values, shape).ravel())
        return spread

    @cached_property
    def volumes(self) -> IntArray:
        """Keys of every query tile's box ``[rows]``."""
        product = np.ones(self.rows, dtype=np.int64)
        for counts in self.per_row(lambda r: r.counts):
            product = product * counts
        return product
