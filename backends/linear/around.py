"""What any form of the recurrence has around it: divisor, both directions, states in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from attnlang.backends.linear.bidirectional import all_pairs, both_ways
from attnlang.backends.linear.form import State, Tokens, Weights, initial_state, tokens
from attnlang.backends.linear.normalise import divided, split, with_ones
from attnlang.backends.linear.polynomial import check, feature_count

Tensor = torch.Tensor
Form = Callable[[Tokens, Tensor, float, Weights | None, torch.dtype], tuple[Tensor, Tensor]]
"""Tokens, the state before them, scale, weights and the dtype that is enough for the output: the
output, and the state after them."""


def around(
    form: Form, q: Tensor, k: Tensor, v: Tensor, *, decay: Tensor | None = None,
    beta: Tensor | None = None, scale: float = 1.0, segments: Tensor | None = None,
    initial: State | None = None, normalise: Literal["none", "sum"] = "none", eps: float = 0.0,
    causal: bool = True, weights: Weights | None = None,
) -> tuple[Tensor, State]:  # fmt: skip
    """One call: the arguments and results of `chunkwise`."""
    v, start = with_ones(v, initial, normalise)

    def forward(q: Tensor, k: Tensor, v: Tensor, segments: Tensor | None) -> tuple[Tensor, Tensor]:
        x = tokens(q, k, v, decay, beta, segments)
        check(x, weights)
        width = k.shape[3] if weights is None else feature_count(k.shape[3])
        first = initial_state(start, x, (q.shape[0], x.heads, width, v.shape[3]))
        plain = normalise == "none" and causal
        return form(x, first, scale, weights, v.dtype if plain else x.dtype)

    if causal:
        out, final = forward(q, k, v, segments)
    elif decay is None and segments is None and beta is None and initial is None:
        out, final = all_pairs(tokens(q, k, v, None, None, None), scale, weights)
    else:
        out, final = both_ways(forward, q, k, v, decay, beta, scale, segments, initial, weights)
    return divided(out, normalise, eps, v.dtype), split(final, normalise)
