"""Sums of log-decays over runs of tokens of a chunk, and the adjoints of those sums.

A sum is never the difference of two cumulative sums: nothing cancels, every sum is at most 0, and
a log-decay of -inf (a reset) stays one. Tokens are the last axis but one: ``[..., C, K]``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def up_to(a: Tensor) -> Tensor:
    """From the chunk's first token to each: by this a token's reading of the state decays."""
    return a.cumsum(-2)


def after(a: Tensor) -> Tensor:
    """Behind each token to the last: by this its writing decays until the chunk ends."""
    return F.pad(from_(a[..., 1:, :]), (0, 0, 0, 1))


def from_(x: Tensor) -> Tensor:
    """From each token to the last; the adjoint of :func:`up_to`."""
    return x.flip(-2).cumsum(-2).flip(-2)


def before(x: Tensor) -> Tensor:
    """From the first token to the one ahead of each; the adjoint of :func:`after`."""
    return F.pad(x[..., :-1, :].cumsum(-2), (0, 0, 1, 0))


def between(a: Tensor) -> Tensor:
    """``[..., C, 1]`` to ``[..., C, C]``: at ``[i, j]`` behind j up to i; 0 where j >= i."""
    size = a.shape[-2]
    # Along rows and from the right: cumsum is fast along the last axis alone.
    behind = F.pad(a[..., 1:, 0].flip(-1), (1, 0))[..., None, :]
    taken = torch.ones(size, size, dtype=torch.bool, device=a.device).tril(-1).flip(-1)
    return torch.where(taken, behind, 0.0).cumsum(-1).flip(-1)


def between_adjoint(x: Tensor) -> Tensor:
    """``[..., C, C]`` to ``[..., C, 1]``: for each token the sum over the pairs around it."""
    return F.pad(x.cumsum(-1).tril(-1).sum(-2)[..., :-1], (1, 0))[..., None]


def decays(a: Tensor) -> Tensor:
    """The decay between key j and query i, 0 for keys after the query: ``[..., C, C]``."""
    return between(a).exp().tril()
