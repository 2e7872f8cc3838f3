"""The recurrence as it is defined, token by token, and one step of it for decoding."""

from __future__ import annotations

from typing import Literal

import torch

from attnlang.backends.linear.around import around
from attnlang.backends.linear.form import State, Tokens, Weights
from attnlang.backends.linear.polynomial import lifted

Tensor = torch.Tensor


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float = 1.0,
    segments: Tensor | None = None,
    initial: State | None = None,
    causal: bool = True,
    normalise: Literal["none", "sum"] = "none",
    eps: float = 0.0,
    weights: Weights | None = None,
) -> tuple[Tensor, State]:
    """A loop over tokens; arguments and results as in :func:`chunkwise`."""

    def form(
        x: Tokens, s: Tensor, scale: float, weights: Weights | None, _: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        given = lifted(x.widened(), scale, weights)
        outs = []
        for t in range(x.q.shape[2]):
            out, s = _token(given, t, s)
            outs.append(out)
        return (torch.stack(outs, 2) if outs else given.v), s

    return around(
        form, q, k, v, decay=decay, beta=beta, scale=scale, segments=segments, initial=initial,
        normalise=normalise, eps=eps, causal=causal, weights=weights,
    )  # fmt: skip


def step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: State | None,
    *,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float = 1.0,
    normalise: Literal["none", "sum"] = "none",
    eps: float = 0.0,
    weights: Weights | None = None,
) -> tuple[Tensor, State]:
    """One more token: the arguments of :func:`chunkwise` with N = 1. State None is empty."""
    if q.shape[2] != 1:
        raise ValueError(f"a step takes one token, not {q.shape[2]}")
    return recurrent(
        q, k, v, decay=decay, beta=beta, scale=scale, initial=state, normalise=normalise, eps=eps,
        weights=weights,
    )  # fmt: skip


def _token(x: Tokens, t: int, s: Tensor) -> tuple[Tensor, Tensor]:
    """Token t: the state ``[B, H, K, V]`` decays, is written to, and is read."""
    q, k, v = (y[:, :, t] for y in (x.q, x.k, x.v))
    s = s * x.decay[:, :, t, :, None].exp()
    if x.beta is not None:
        v = x.beta[:, :, t] * (v - (k[:, :, None] @ s)[:, :, 0])
    s = s + k[..., None] * v[:, :, None]
    return (q[:, :, None] @ s)[:, :, 0], s
