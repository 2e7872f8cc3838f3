"""The states between chunks: one small step a chunk, forwards, and its adjoint backwards."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def states(carry: Tensor, written: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The state before each chunk ``[B, H, n, K, V]`` and that after the last ``[B, H, K, V]``.

    carry: what a chunk does to the state it finds, factors ``[B, H, n, 1 or K, 1]`` or matrices
    ``[B, H, n, K, K]`` (B and H may be 1). written ``[B, H, n, K, V]`` is added.
    """
    found = [first]
    for factor, addition in zip(carry.unbind(2), written.unbind(2), strict=True):
        found.append(_next(factor, found[-1], addition))
    return torch.stack(found[:-1], 2), found[-1]


def adjoints(carry: Tensor, read: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the state after each chunk ``[B, H, n, K, V]`` and of that before the first.

    read: the part of the gradient of the state before each chunk that comes from within it.
    last: the gradient of the final state.
    """
    found = [last]
    back = carry if carry.shape[-1] == 1 else carry.mT
    for factor, addition in zip(reversed(back.unbind(2)), reversed(read.unbind(2)), strict=True):
        found.append(_next(factor, found[-1], addition))
    return torch.stack(found[-2::-1], 2), found[-1]


def _next(factor: Tensor, state: Tensor, addition: Tensor) -> Tensor:
    if factor.shape[-1] == 1:
        return torch.addcmul(addition, factor, state)
    return addition + factor @ state
