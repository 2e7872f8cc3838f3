"""Boxes: plans whose query tiles each need a few boxes of keys, known in closed form axis by axis.

This is most of the literature: windows, blocks, grids, dilation, axial attention, causal rows,
their conjunctions, attention sinks and columns beside them, and tokens that all see. The plan is
O(sum of axis strips); tiles, pairs and waste are products.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.layout.cost import slots
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.problem import Extent

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Box:
    """A box of keys for every query tile of a segment.

    q: the query tiles. k: the segment of the keys. reaches: for each axis, in order, the keys of
    each of its strips. k_tile: extents of a key tile; tiles are walked from each box's corner.
    """

    q: ExtentTiling
    k: Extent
    reaches: tuple[AxisReach, ...]
    k_tile: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return sum(r.nbytes for r in self.reaches)

    @property
    def tiles_of_keys(self) -> int:
        """Tiles of the whole segment of keys."""
        return math.prod(-(-n // t) for n, t in zip(self.k.lengths, self.k_tile, strict=True))

    @property
    def area(self) -> int:
        """Slots of one pair of tiles, padding included."""
        return slots(self.q.capacity) * slots(math.prod(self.k_tile))

    @cached_property
    def pairs(self) -> int:
        """Attending pairs of one head: the axes' counts multiply."""
        return math.prod(r.pairs for r in self.reaches)

    @cached_property
    def visited(self) -> int:
        """Key tiles visited."""
        return math.prod(int(r.tiles(t).sum()) for r, t in self._sized)

    @cached_property
    def full(self) -> int:
        """Key tiles of which every pair attends."""
        return math.prod(int(r.full_tiles(t).sum()) for r, t in self._sized)

    @property
    def _sized(self) -> list[tuple[AxisReach, int]]:
        return list(zip(self.reaches, self.k_tile, strict=True))

    def per_row(self, of: Callable[[AxisReach], IntArray]) -> list[IntArray]:
        """A per-strip quantity of every axis, spread over all query tiles ``[rows]`` each."""
        shape = tuple(a.strips for a in self.q.axes)
        spread = []
        for i, reach in enumerate(self.reaches):
            values = of(reach).reshape([-1 if j == i else 1 for j in range(len(shape))])
            spread.append(np.broadcast_to(values, shape).ravel())
        return spread

    def unrolled(self) -> tuple[Box, ...]:
        """The boxes of which none repeats that are this one together, ascending."""
        every = itertools.product(*(r.unrolled() for r in self.reaches))
        return tuple(replace(self, reaches=reaches) for reaches in every)

    @cached_property
    def volumes(self) -> IntArray:
        """Keys of every query tile's box ``[rows]``."""
        product = np.ones(self.q.tiles, dtype=np.int64)
        for counts in self.per_row(lambda r: r.volumes):
            product = product * counts
        return product


@dataclass(frozen=True)
class Everything:
    """All keys of a segment for every query tile of another: there every pair attends."""

    q: ExtentTiling
    k: Extent
    k_tile: tuple[int]
    nbytes: int = 0

    def unrolled(self) -> tuple[Everything, ...]:
        return (self,)

    @property
    def tiles_of_keys(self) -> int:
        return -(-self.k.size // self.k_tile[0])

    @property
    def area(self) -> int:
        return slots(self.q.capacity) * slots(self.k_tile[0])

    @property
    def pairs(self) -> int:
        return self.q.extent.size * self.k.size

    @property
    def visited(self) -> int:
        return self.q.tiles * self.tiles_of_keys

    @property
    def full(self) -> int:
        return self.visited

    @property
    def volumes(self) -> IntArray:
        return np.full(self.q.tiles, self.k.size, dtype=np.int64)


@dataclass(frozen=True)
class Part:
    """The query tiles of one segment and their boxes, of which no two share a key of a tile.

    The boxes ascend in the place of their keys.
    """

    q: ExtentTiling
    boxes: tuple[Box | Everything, ...]

    @property
    def volumes(self) -> IntArray:
        """Keys of every query tile's boxes ``[rows]``."""
        return sum((b.volumes for b in self.boxes), np.zeros(self.q.tiles, dtype=np.int64))


@dataclass(frozen=True)
class BoxTable:
    """The boxes of all query tiles, segment after segment."""

    parts: tuple[Part, ...]

    @cached_property
    def boxes(self) -> tuple[Box | Everything, ...]:
        return tuple(box for part in self.parts for box in part.boxes)

    @property
    def single(self) -> Box | None:
        """The box, if there is one segment of queries and each tile has one box."""
        match self.boxes:
            case (Box() as box,) if len(self.parts) == 1:
                return box
            case _:
                return None

    @property
    def nbytes(self) -> int:
        return sum(b.nbytes for b in self.boxes)

    @cached_property
    def pairs(self) -> int:
        """Attending pairs of one head."""
        return sum(b.pairs for b in self.boxes)

    @property
    def volumes(self) -> IntArray:
        """Keys of every query tile's boxes ``[rows]``."""
        return np.concatenate([p.volumes for p in self.parts])

    @cached_property
    def visited(self) -> int:
        """Slots of all tiles that one head visits, padding included."""
        return sum(b.visited * b.area for b in self.boxes)

    def tiles(self) -> dict[str, int]:
        """Full and partial key tiles visited, and what an exhaustive walk would add as empty."""
        visited = sum(b.visited for b in self.boxes)
        full = sum(b.full for b in self.boxes)
        walks = {(b.q.extent.start, b.k.start): b.q.tiles * b.tiles_of_keys for b in self.boxes}
        empty = max(sum(walks.values()) - visited, 0)
        return {"full": full, "partial": visited - full, "empty": empty}
