"""Learned vectors times queries, keys, or functions of both, feature by feature."""

from __future__ import annotations

import torch

from attnlang.backends.precision import accumulation_dtype
from attnlang.backends.program.maps import ARITHMETIC, MAPS

FEATURES_AT_ONCE = 1 << 24
"""Elements of the largest tensor of pairs' features."""


def table_products(x: torch.Tensor, table: torch.Tensor, by_head: bool) -> torch.Tensor:
    """``[B, H, N, ...]``: each vector of ``x [B, H, N, D]`` times each of the table's.

    table: ``[B or 1, (H,) ..., D]``. Sums in float32 or better.
    """
    dtype = accumulation_dtype(x.dtype)
    if by_head and table.shape[1] != x.shape[1]:
        x = x.repeat_interleave(table.shape[1] // x.shape[1], 1)
    middle = table.shape[1 + by_head : -1]
    flat = table.to(dtype).reshape(*table.shape[: 1 + by_head], -1, table.shape[-1])
    flat = flat if by_head else flat[:, None]
    found = x.to(dtype) @ flat.transpose(-1, -2)
    return found.reshape(*found.shape[:3], *middle)


def pair_products(
    op: str, function: str, q: torch.Tensor, k: torch.Tensor, table: torch.Tensor, by_head: bool
) -> torch.Tensor:
    """``[B, H, Nq, Nk]``: ``function(q op k)`` times one vector, some queries at a time.

    Memory for training is that of every pair's features. Sums in float32 or better.
    """
    dtype = accumulation_dtype(q.dtype)
    vector = table.to(dtype) if by_head else table.to(dtype)[:, None]
    vector = vector[..., None, :, None]
    there = k.to(dtype)[:, :, None]
    found = []
    for some in q.to(dtype).split(max(1, FEATURES_AT_ONCE // max(k.shape[0] * k[0].numel(), 1)), 2):
        x = ARITHMETIC[op](some[:, :, :, None], there)
        x = MAPS[function](x) if function else x
        found.append((x @ vector)[..., 0])
    return torch.cat(found, 2)
