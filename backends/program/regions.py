"""Pools whose runs are any sets of tokens."""

from __future__ import annotations

from typing import assert_never

import torch

from attnlang.compiler.ir.program import Reduction

AT_ONCE = 1 << 24
"""Elements of the largest tensor that a maximum is searched in."""


def regions(x: torch.Tensor, belongs: torch.Tensor, how: Reduction) -> torch.Tensor:
    """``[B, H, N, D]`` -> ``[B, H, R, D]``: each run's tokens reduced; a run without any gives 0.

    belongs: bool ``[B or 1, R, N]``, which tokens are of which run. Of equal values the first has
    the gradient of a maximum.
    """
    belongs = belongs[:, None]
    some = belongs.any(-1, keepdim=True)
    match how:
        case Reduction.SUM | Reduction.MEAN:
            total = belongs.to(x.dtype) @ x
            if how is Reduction.SUM:
                return total
            return total / belongs.sum(-1, keepdim=True).clamp(min=1).to(x.dtype)
        case Reduction.FIRST | Reduction.LAST:
            ends = belongs.to(torch.uint8)
            place = ends.argmax(-1)
            if how is Reduction.LAST:
                place = belongs.shape[-1] - 1 - ends.flip(-1).argmax(-1)
            at = place[..., None].expand(*x.shape[:2], -1, x.shape[3])
        case Reduction.MAX | Reduction.MIN:
            at = _largest(x.detach() if how is Reduction.MAX else -x.detach(), belongs)
        case Reduction.TAKE | Reduction.PUT:
            raise AssertionError(f"`{how}` has no runs")
        case _:
            assert_never(how)
    return torch.where(some, x.gather(2, at), 0.0)


def _largest(x: torch.Tensor, belongs: torch.Tensor) -> torch.Tensor:
    """Which token of each run has the largest value of each feature, ``[B, H, R, D]``."""
    found = []
    for run in belongs.split(max(1, AT_ONCE // max(x.numel(), 1)), 2):
        inside = torch.where(run[..., None], x[:, :, None], -torch.inf)
        found.append(inside.argmax(3))
    return torch.cat(found, 2)
