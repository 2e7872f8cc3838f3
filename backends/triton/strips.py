"""Tiles that are products of strips, as the few numbers by which kernels place their slots.

Of such a tile neither places are read nor coordinates worked out one by one: extents are constants,
so what a slot adds to its tile's first coordinates is one too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from attnlang.compiler.layout.tiling import SideTiling


@dataclass(frozen=True, slots=True)
class Strips:
    """tile: the extents of every tile. numbers: for each axis how far its next token is in
    coordinates and in places; then for each tile the place of its first token, and for each axis
    that token's coordinate and how many tokens there are. solid: are tokens of a tile neighbours in
    the grid, and coordinates counted from its begin?"""

    tile: tuple[int, ...]
    numbers: torch.Tensor
    solid: bool


def strips_of(tiling: SideTiling, block: int, device: torch.device) -> Strips | None:
    """None where tiles have empty slots by their extents, or strips of an axis other steps."""
    if len(tiling.extents) > 1:
        return None
    (one,) = tiling.extents
    tile = tuple(a.size for a in one.axes)
    gaps = [np.unique(a.steps[a.counts > 1]) for a in one.axes]
    if math.prod(tile) != block or any(len(g) > 1 for g in gaps):
        return None
    count = tuple(a.strips for a in one.axes)
    head, columns = [], []
    corner = np.full(count, one.extent.start, dtype=np.int64)
    for i, axis in enumerate(one.axes):
        stride = math.prod(one.extent.lengths[i + 1 :])
        gap = int(gaps[i][0]) if len(gaps[i]) else 1
        head += [gap, gap * stride]
        along = [-1 if j == i else 1 for j in range(len(count))]
        corner = corner + axis.starts.reshape(along) * stride
        for of_strips in (axis.starts + one.extent.origin[i], axis.counts):
            columns.append(np.broadcast_to(of_strips.reshape(along), count))
    table = np.stack([corner, *columns], axis=-1).ravel()
    every = np.concatenate([head, table])
    solid = one.extent.segment.is_grid and not any(one.extent.origin)
    solid &= all(len(g) == 0 or g[0] == 1 for g in gaps)
    return Strips(tile, torch.as_tensor(every, dtype=torch.int32, device=device), solid)
