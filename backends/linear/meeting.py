"""Where a chunk's tokens meet the state: what they read of it, write to it, and leave of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.linear import runs

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Meeting:
    """Decays ``[..., n, C, 1 or K]`` of the state.

    read: from the chunk's first token to each. write: behind each token to the chunk's last.
    carry ``[..., n, 1 or K, 1]``: over the whole chunk.
    """

    read: Tensor
    write: Tensor
    carry: Tensor


def meeting(a: Tensor) -> Meeting:
    """From log-decays ``[..., n, C, 1 or K]``."""
    read = runs.up_to(a).exp()
    return Meeting(read, runs.after(a).exp(), read[..., -1, :, None])


def meeting_adjoint(d_read: Tensor, d_write: Tensor, d_carry: Tensor, width: int) -> Tensor:
    """The gradient of the log-decays from those of the exponents, ``[..., n, C, K']``.

    d_carry is ``[..., n, K', 1]``. width 1: all channels decay by the same.
    """
    d_carry = d_carry.mT
    if width == 1:
        d_read, d_write, d_carry = (x.sum(-1, keepdim=True) for x in (d_read, d_write, d_carry))
    return runs.from_(d_read) + runs.before(d_write) + d_carry
