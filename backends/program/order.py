"""Values sorted, the first of equal ones first."""

from __future__ import annotations

import torch


def best_first(values: torch.Tensor) -> torch.Tensor:
    """The indices of each row from the largest value down."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices


def ranks(x: torch.Tensor, axes: slice) -> torch.Tensor:
    """The place of every token ``[B, H, N, 1]`` among those on the axes once they are sorted.
    Other tokens have 0."""
    order = torch.sort(x[:, :, axes], dim=2, stable=True).indices
    place = torch.arange(order.shape[2], device=x.device).view(1, 1, -1, 1)
    found = torch.zeros_like(x, dtype=torch.int64)
    found[:, :, axes] = torch.zeros_like(order).scatter(2, order, place.expand(order.shape))
    return found
