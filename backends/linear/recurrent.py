"""The recurrence as it is defined, token by token, and one step of it for decoding."""

from __future__ import annotations

from typing import Literal

import torch

from attnlang.backends.linear.bidirectional import both_ways
from attnlang.backends.linear.form import State, Tokens, Weights, initial_state, tokens
from attnlang.backends.linear.normalise import divided, split, with_ones
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
    v, start = with_ones(v, initial, normalise)

    def forward(q: Tensor, k: Tensor, v: Tensor, segments: Tensor | None) -> tuple[Tensor, Tensor]:
        given = lifted(tokens(q, k, v, decay, beta, segments).widened(), scale, weights)
        s = initial_state(start, given, (*given.k.shape[:2], given.k.shape[3], given.v.shape[3]))
        outs = []
        for t in range(q.shape[2]):
            out, s = _token(given, t, s)
            outs.append(out)
        return (torch.stack(outs, 2) if outs else given.v), s

    if causal:
        out, final = forward(q, k, v, segments)
    else:
        out, final = both_ways(forward, q, k, v, decay, beta, scale, segments, initial, weights)
    return divided(out, normalise, eps, v.dtype), split(final, normalise)


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
