"""Tensor descriptors: tiles that Hopper and later machines copy to shared memory by themselves.

A tile is described by its first token and its shape. Addresses and masks take no registers, and
tokens beyond the last read as zeros. Tensors that cannot be described are read by pointers.
"""

from __future__ import annotations

from typing import Any

import torch

ALIGNMENT = 16
"""Bytes that a described tensor's address and strides are multiples of (CUDA's driver interface,
tensor maps)."""
MOST_DIMENSIONS = 5
WIDEST = 256
"""Entries of a tile along one dimension."""


def describes(dtype: torch.dtype) -> bool:
    """Do kernels of a dtype gain by descriptors? Products of float32 are made without matrix
    instructions: threads would hold whole tiles in registers, and every choice spills."""
    return dtype.itemsize == 2


def machine_describes(device: torch.device, dtype: torch.dtype) -> bool:
    """Has the machine descriptors that a dtype gains by, and the shared memory that choices with
    them count on? The interpreter has them for every dtype."""
    if device.type != "cuda":
        return True
    if torch.version.hip is not None or not describes(dtype):
        return False
    return torch.cuda.get_device_capability(device)[0] in (9, 10)


def describable(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
    """Can tiles of these ``[B, H, tokens, dims]`` be described, and of contiguous tensors of their
    widths?"""
    return all(
        x.data_ptr() % ALIGNMENT == 0
        and x.numel() > 0
        and x.shape[3] <= WIDEST
        and x.shape[3] * x.element_size() % ALIGNMENT == 0
        and x.stride(3) == 1
        and all(
            n == 1 or (step > 0 and step * x.element_size() % ALIGNMENT == 0)
            for n, step in zip(x.shape[:3], x.stride()[:3], strict=True)
        )
        for x in (q, k, v)
    )


def grid_fits(axes: int) -> bool:
    """Has a descriptor dimensions enough for boxes of a grid of tokens: one for each axis, one for
    channels, and one for batch and heads together?"""
    return axes + 2 <= MOST_DIMENSIONS


def has_grid(x: torch.Tensor, axes: int) -> bool:
    """Can boxes of a grid of its tokens be described: are batch and heads one dimension?"""
    batch, heads, _, _ = x.shape
    together = batch == 1 or heads == 1 or x.stride(0) == heads * x.stride(1)
    return together and grid_fits(axes)


def aligned(x: torch.Tensor) -> torch.Tensor:
    """A contiguous tensor at an address that can be described."""
    return x if x.data_ptr() % ALIGNMENT == 0 else x.clone()


def descriptor(x: torch.Tensor, rows: int, width: int) -> Any:
    """Of tiles ``[1, 1, rows, width]`` of a tensor ``[B, H, tokens, dims]``, zeros outside it."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    strides = [1]
    for i in (2, 1, 0):
        # The stride of a dimension of one entry says nothing, and need not be a multiple.
        strides.insert(0, x.stride(i) if x.shape[i] > 1 else strides[0] * x.shape[i + 1])
    return TensorDescriptor(x, list(x.shape), strides, [1, 1, rows, width])


def grid_descriptor(
    x: torch.Tensor, lengths: tuple[int, ...], tile: tuple[int, ...], width: int
) -> Any:
    """Of boxes ``[1, *tile, width]`` of a tensor ``[B, H, tokens, dims]``, whose tokens are a grid:
    ``[B H, *lengths, dims]``. Zeros outside it."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    batch, heads, _, dims = x.shape
    shape, strides, along = [dims], [1], x.stride(2)
    for length in reversed(lengths):
        shape.insert(0, length)
        strides.insert(0, along)
        along *= length
    if batch * heads > 1:
        along = x.stride(1 if heads > 1 else 0)
    made = [batch * heads, *shape], [along, *strides]
    return TensorDescriptor(x, *made, [1, *tile, width])
