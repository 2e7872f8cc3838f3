"""Sums that the backward kernels leave, as gradients of the tensors that were given."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch

from attnlang.backends.blocked.places import Places
from attnlang.backends.call import Call
from attnlang.backends.triton.learned import Leaf, moves
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.problem.problem import grid_of

Key: TypeAlias = str | tuple[str, Side]
"""A table by its name, a token tensor by its name and side."""


def key_of(leaf: Leaf) -> Key:
    return leaf.node.name if isinstance(leaf.node, e.Table) else (leaf.node.name, leaf.node.side)


def given(call: Call, key: Key) -> torch.Tensor:
    return call.inputs.tables[key] if isinstance(key, str) else call.inputs.tokens[key]


def moving_sizes(call: Call, node: e.Table) -> tuple[int, ...]:
    """Sizes of the dimensions whose index tokens decide."""
    sizes = call.inputs.tables[node.name].shape[1:]
    return tuple(n for n, i in zip(sizes, node.indices, strict=True) if _by_token(i))


def _by_token(index: e.Expr) -> bool:
    return any(moves(index, side) for side in Side)


def gradient(call: Call, leaf: Leaf, sums: torch.Tensor) -> torch.Tensor:
    """The gradient of the tensor that a leaf reads, in double precision.

    sums: ``[B, H, tokens of the side that the leaf stands on]``, or ``[B, H, entries]``.
    """
    shape = given(call, key_of(leaf)).shape
    if isinstance(leaf.node, e.TokenInput):
        grid = grid_of(call.problem.extents(leaf.node.side))
        by_token = sums[:, :, grid.start : grid.stop].double()
        for dimension in (0, 1):
            if shape[dimension] == 1:
                by_token = by_token.sum(dimension, keepdim=True)
        return by_token
    return _by_entry(call, leaf, leaf.node, sums, shape)


def _by_entry(
    call: Call, leaf: Leaf, node: e.Table, sums: torch.Tensor, shape: torch.Size
) -> torch.Tensor:
    side = leaf.stands_on
    slots = torch.arange(sums.shape[2], device=sums.device)
    spread = list(torch.unravel_index(slots, moving_sizes(call, node))) if side is None else []
    at = slots[None] if side is not None else slots[None, :1]
    q, k = (at[:, :1], at) if side is Side.K else (at, at[:, :1])
    places = Places(call.problem, call.inputs, tuple(range(call.problem.heads)), q, k, sums.dtype)
    inside = torch.ones_like(sums, dtype=torch.bool)
    indices = []
    for index, size in zip(node.indices, shape[1:], strict=True):
        if side is None and _by_token(index):
            value = spread.pop(0)
        else:
            # [B, H, rows, query slots, key slots], of which one alone is more than 1.
            value = torch.as_tensor(places.value(index), device=sums.device)
            value = value[(None,) * (5 - value.dim())].flatten(2)
        value = value.expand(sums.shape)
        inside = inside & (value >= 0) & (value < size)
        indices.append(value.clamp(0, max(size - 1, 0)))
    batch = torch.arange(sums.shape[0], device=sums.device) * (shape[0] > 1)
    batch = batch[:, None, None].expand(sums.shape)
    made = torch.zeros(shape, dtype=torch.float64, device=sums.device)
    if not made.numel():
        return made
    values = torch.where(inside, sums.double(), 0.0)
    return made.index_put((batch, *indices), values, accumulate=True)


def entries(call: Call, node: e.Table) -> int:
    return math.prod(moving_sizes(call, node))
