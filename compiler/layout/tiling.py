"""Tilings: how each side's tokens are cut into tiles.

An axis is cut into strips, each an arithmetic progression of positions: contiguous ones, the
blocks of a partition, or the residues of a modulus. A tile is a product of strips, one an
axis. So windows, grids and dilation groups become tiles that touch nothing outside them, and
every tile is described by three small numbers an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.ir.evaluate import remainder
from attnlang.compiler.problem.problem import Extent

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class AxisTiling:
    """Strips of one axis: positions ``starts[i] + j * steps[i]`` for ``j < counts[i]``.

    Every position is in exactly one strip. ``size`` is the longest strip's count, the extent
    that tiles are padded to; ``rule`` says in words how the axis was cut.
    """

    length: int
    starts: IntArray
    steps: IntArray
    counts: IntArray
    size: int
    rule: str = field(compare=False, default="")

    @property
    def strips(self) -> int:
        return len(self.starts)

    @cached_property
    def contiguous(self) -> bool:
        """Are strips consecutive runs of ``size`` (the last one shorter)?"""
        return bool((self.steps == 1).all() and (np.diff(self.starts) == self.size).all())

    @cached_property
    def positions(self) -> IntArray:
        """Positions ``[strips, size]``; -1 where a strip is shorter."""
        j = np.arange(self.size, dtype=np.int64)
        table = self.starts[:, None] + j * self.steps[:, None]
        return np.where(j < self.counts[:, None], table, -1)

    @cached_property
    def order(self) -> IntArray:
        """All positions, strip after strip."""
        flat = self.positions.ravel()
        return flat[flat >= 0]

    @cached_property
    def offsets(self) -> IntArray:
        """Where each strip begins in :attr:`order`."""
        return np.concatenate(([0], np.cumsum(self.counts)[:-1])).astype(np.int64)


def contiguous(length: int, size: int) -> AxisTiling:
    """Runs of ``size``; the last may be shorter."""
    size = max(1, min(size, length))
    starts = np.arange(0, length, size, dtype=np.int64)
    counts = np.minimum(size, length - starts)
    return AxisTiling(length, starts, np.ones_like(starts), counts, size, f"runs of {size}")


def blocks(length: int, block: int, offset: int, size: int) -> AxisTiling:
    """Blocks ``(x - offset) // block``, each cut into runs of ``size``."""
    first = offset % block
    cuts = np.unique(np.concatenate(([0], np.arange(first, length, block), [length]))).astype(
        np.int64
    )
    low, high = cuts[:-1], cuts[1:]
    pieces = -(-(high - low) // size)
    before = np.cumsum(pieces) - pieces
    inner = (np.arange(int(pieces.sum())) - np.repeat(before, pieces)) * size
    s = np.repeat(low, pieces) + inner
    c = np.minimum(size, np.repeat(high, pieces) - s)
    rule = f"blocks of {block}" + (f" from {first}" if first else "")
    return AxisTiling(length, s, np.ones_like(s), c, int(c.max()), rule)


def residues(length: int, modulus: int, size: int) -> AxisTiling:
    """Residue classes modulo ``modulus``, each cut into runs of ``size`` members."""
    r = np.arange(min(modulus, length), dtype=np.int64)
    members = -(-(length - r) // modulus)
    pieces = -(-members // size)
    first = np.cumsum(pieces) - pieces
    inner = (np.arange(int(pieces.sum())) - np.repeat(first, pieces)) * size
    s = np.repeat(r, pieces) + inner * modulus
    c = np.minimum(size, np.repeat(members, pieces) - inner)
    steps = np.full_like(s, modulus)
    return AxisTiling(length, s, steps, c, int(c.max()), f"residues modulo {modulus}")


def combed(length: int, period: int, first: int, size: int) -> AxisTiling:
    """Every ``period``-th position from ``first`` on in progressions of ``size``, and what lies
    between them in runs as long."""
    size = min(size, length)
    teeth = -(-(length - first) // period)
    inner = np.arange(0, teeth, size, dtype=np.int64)
    edges = np.concatenate(([-1], first + np.arange(teeth) * period, [length]))
    gaps = np.diff(edges) - 1
    pieces = -(-gaps // size)
    run = -(-gaps // np.maximum(pieces, 1))
    number = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = number * np.repeat(run, pieces)
    of_runs = np.minimum(np.repeat(run, pieces), np.repeat(gaps, pieces) - begin)
    starts = np.concatenate((first + inner * period, np.repeat(edges[:-1] + 1, pieces) + begin))
    counts = np.concatenate((np.minimum(size, teeth - inner), of_runs))
    steps = np.where(np.arange(len(starts)) < len(inner), period, 1)
    rule = f"steps of {period}, and runs between"
    return AxisTiling(length, starts, steps, counts, int(counts.max()), rule)


@dataclass(frozen=True)
class ExtentTiling:
    """Tiles of one segment: products of strips, row-major over the axes' strips."""

    extent: Extent
    axes: tuple[AxisTiling, ...]

    @property
    def tiles(self) -> int:
        return math.prod(a.strips for a in self.axes)

    @property
    def capacity(self) -> int:
        return math.prod(a.size for a in self.axes)

    @cached_property
    def counts(self) -> IntArray:
        """Tokens of each tile ``[tiles]``."""
        counts = np.ones(1, dtype=np.int64)
        for axis in self.axes:
            counts = (counts[:, None] * axis.counts[None, :]).ravel()
        return counts

    def part(self, axis: int, strips: IntArray | slice) -> ExtentTiling:
        """The tiles of some strips of an axis."""
        whole = self.axes[axis]
        starts, steps, counts = (x[strips] for x in (whole.starts, whole.steps, whole.counts))
        some = replace(whole, starts=starts, steps=steps, counts=counts)
        return ExtentTiling(self.extent, (*self.axes[:axis], some, *self.axes[axis + 1 :]))

    @property
    def row_major(self) -> bool:
        """Do tiles, one after another, hold the tokens in sequence order without gaps?"""
        return (
            all(a.strips == 1 and a.contiguous for a in self.axes[1:]) and self.axes[0].contiguous
        )

    @cached_property
    def tokens(self) -> IntArray:
        """Sequence places of every tile's tokens ``[tiles, capacity]``; -1 is padding."""
        n = len(self.axes)
        flat = np.zeros((1,) * (2 * n), dtype=np.int64)
        good = np.ones((1,) * (2 * n), dtype=bool)
        stride = 1
        for i in reversed(range(n)):
            axis = self.axes[i]
            shape = [1] * (2 * n)
            shape[i], shape[n + i] = axis.strips, axis.size
            table = axis.positions.reshape(shape)
            flat = flat + table * stride
            good = good & (table >= 0)
            stride *= axis.length
        flat = np.where(good, flat + self.extent.start, -1)
        return flat.reshape(self.tiles, self.capacity)


@dataclass(frozen=True)
class SideTiling:
    """All tiles of one side, segment after segment."""

    extents: tuple[ExtentTiling, ...]

    @property
    def tiles(self) -> int:
        return sum(x.tiles for x in self.extents)

    @property
    def capacity(self) -> int:
        """Slots of a tile: the largest of its segments'."""
        return max(x.capacity for x in self.extents)

    @cached_property
    def counts(self) -> IntArray:
        return np.concatenate([x.counts for x in self.extents])

    @cached_property
    def tokens(self) -> IntArray:
        """``[tiles, capacity]`` sequence places; -1 is padding."""
        width = self.capacity
        parts = [
            np.pad(x.tokens, ((0, 0), (0, width - x.capacity)), constant_values=-1)
            for x in self.extents
        ]
        return np.concatenate(parts)

    @property
    def row_major(self) -> bool:
        """Is tile ``i`` simply tokens ``i * capacity`` onwards?"""
        return len(self.extents) == 1 and self.extents[0].row_major


def coordinates(extent: Extent, tokens: IntArray, axis: str) -> IntArray:
    """The coordinate of tokens (places in the sequence) on one axis; of padding, any."""
    return coordinate(extent, axis, np.maximum(tokens - extent.start, 0))


def coordinate(extent: Extent, axis: str, places: IntArray) -> IntArray:
    """The coordinate on one axis of the tokens at these places of a segment."""
    i = extent.axes.index(axis)
    inner = math.prod(extent.lengths[i + 1 :])
    found = places // inner if inner > 1 else places
    if i:  # along the first axis there is nothing further out
        found = remainder(found, extent.lengths[i])
    return found + extent.origin[i]


def cubic(lengths: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Extents of tiles, nearly alike, with ``size`` slots or up to twice as many."""
    tile = [1] * len(lengths)
    while math.prod(tile) < size:
        open_axes = [i for i, n in enumerate(lengths) if tile[i] < n]
        if not open_axes:
            break
        smallest = min(open_axes, key=lambda i: (tile[i], -i))
        tile[smallest] *= 2
    return tuple(tile)
