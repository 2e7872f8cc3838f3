"""Attention to both sides with a constant decay: weights ``exp(decay * |i - j|)``."""

from __future__ import annotations

from collections.abc import Callable

import torch

from attnlang.backends.linear.form import State, Tokens, Weights, tokens
from attnlang.backends.linear.polynomial import lifted, polynomial

Tensor = torch.Tensor
Causal = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""A causal form: q, k, v and segments to the output, as accumulated, and the final state."""


def both_ways(
    form: Causal,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    scale: float,
    segments: Tensor | None,
    initial: State | None,
    weights: Weights | None,
) -> tuple[Tensor, Tensor]:
    """Forwards plus backwards minus each token's own share, which both count.

    The state is that of the forward pass: after all tokens. Raises ValueError for what has no
    second direction: a state before the first token, the delta rule, decays that vary.
    """
    if initial is not None or beta is not None or (decay is not None and decay.dim() != 1):
        raise ValueError("causal=False takes a constant decay, no beta and no initial state")
    out, final = form(q, k, v, segments)
    flipped = None if segments is None else segments.flip(1)
    back, _ = form(q.flip(2), k.flip(2), v.flip(2), flipped)
    x = tokens(q, k, v, decay, None, None).widened()
    score = (x.q * x.k).sum(-1, keepdim=True) * scale
    own = score if weights is None else polynomial(score, weights)
    return out + back.flip(2) - own * x.v, final


def all_pairs(x: Tokens, scale: float, weights: Weights | None) -> tuple[Tensor, Tensor]:
    """Without decay and segments every query reads the same state, that of all tokens."""
    y = lifted(x.widened(), scale, weights)
    state = y.k.mT @ y.v
    return y.q @ state, state
