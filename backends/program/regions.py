"""Pools whose runs are any sets of tokens."""

from __future__ import annotations

import torch

AT_ONCE = 1 << 24
"""Elements of the largest tensor that a maximum is searched in."""


def regions(x: torch.Tensor, belongs: torch.Tensor, how: str) -> torch.Tensor:
    """``[B, H, N, D]`` -> ``[B, H, R, D]``: each run's tokens reduced; a run without any gives 0.

    belongs: bool ``[B or 1, R, N]``, which tokens are of which run. Of equal values the first has
    the gradient of a maximum.
    """
    belongs = belongs[:, None]
    some = belongs.any(-1, keepdim=True)
    match how:
        case "sum" | "mean":
            total = belongs.to(x.dtype) @ x
            if how == "sum":
                return total
            return total / belongs.sum(-1, keepdim=True).clamp(min=1).to(x.dtype)
        case "first" | "last":
            ends = belongs.to(torch.uint8)
            place = ends.argmax(-1)
            if how == "last":
                place = belongs.shape[-1] - 1 - ends.flip(-1).argmax(-1)
            at = place[..., None].expand(*x.shape[:2], -1, x.shape[3])
        case "max" | "min":
            at = _largest(x.detach() if how == "max" else -x.detach(), belongs)
        case _:
            raise AssertionError(f"`{how}` has no runs")
    return torch.where(some, x.gather(2, at), 0.0)


def _largest(x: torch.Tensor, belongs: torch.Tensor) -> torch.Tensor:
    """Which token of each run has the largest value of each feature, ``[B, H, R, D]``."""
    found = []
    for run in belongs.split(max(1, AT_ONCE // max(x.numel(), 1)), 2):
        inside = torch.where(run[..., None], x[:, :, None], -torch.inf)
        found.append(inside.argmax(3))
    return torch.cat(found, 2)
