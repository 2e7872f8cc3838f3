"""Tensors of many gigabytes, in memory of which there is only what is touched."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch

Tensor = torch.Tensor
MAP_NORESERVE = 0x4000
"""Of Linux: memory is not set aside before it is touched. Python 3.11 has no name for it."""
WRAPS = 2**31
"""The first offset that 32 bits do not hold."""


def reach(x: Tensor) -> int:
    """How many elements the last one is from the first."""
    return sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))


def vast(shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros in memory of which there is only what is written. Before it are zeros as
    well: there an offset leads that wraps."""
    size = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, (WRAPS + size) * dtype.itemsize, flags=flags)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    every = torch.frombuffer(memory, dtype=dtype, count=WRAPS + size)
    return every[WRAPS:].as_strided(shape, strides)


def far(x: Tensor, dimension: int) -> Tensor:
    """The same numbers, those along one dimension so far apart that half of them lie beyond 2**31
    elements, though the stride alone fits into 32 bits."""
    steps = x.shape[dimension] - 1
    assert steps > 1
    strides = [0] * x.dim()
    inner = 1
    for i in reversed([j for j in range(x.dim()) if j != dimension]):
        strides[i] = inner
        inner *= x.shape[i]
    strides[dimension] = (2 * WRAPS - 1) // steps // 64 * 64
    return vast(x.shape, strides, x.dtype).copy_(x.detach())
