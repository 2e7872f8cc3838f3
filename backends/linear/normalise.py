"""Division by the sum of the weights: a column of ones beside the values becomes that sum."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from attnlang.backends.linear.form import State

Tensor = torch.Tensor


def with_ones(
    v: Tensor, initial: State | None, normalise: Literal["none", "sum"]
) -> tuple[Tensor, State | None]:
    """The values ``[B, H, N, V + 1]`` and the state to go with them."""
    if normalise == "none":
        return v, initial
    if initial is not None:
        if initial.z is None:
            raise ValueError("the initial state has no z: it comes from an op without normaliser")
        initial = State(torch.cat((initial.s, initial.z[..., None]), -1))
    return F.pad(v, (0, 1), value=1.0), initial


def divided(
    out: Tensor, normalise: Literal["none", "sum"], eps: float, dtype: torch.dtype
) -> Tensor:
    """The output in ``dtype``, divided if it is to be; rows whose weights sum to 0 give 0."""
    if normalise == "none":
        return out.to(dtype)
    total = out[..., -1:] + eps
    empty = total == 0
    return torch.where(empty, 0.0, out[..., :-1] / torch.where(empty, 1.0, total)).to(dtype)


def split(state: Tensor, normalise: Literal["none", "sum"]) -> State:
    """A state of :func:`with_ones` values in its two parts."""
    return State(state) if normalise == "none" else State(state[..., :-1], state[..., -1])
