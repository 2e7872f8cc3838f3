"""All pairs at once, with the matrix of decays written out: O(N^2), and the clearest form."""

from __future__ import annotations

from typing import Literal

import torch

from attnlang.backends.linear import runs
from attnlang.backends.linear.bidirectional import both_ways
from attnlang.backends.linear.form import Tokens, Weights, tokens
from attnlang.backends.linear.normalise import divided, with_ones
from attnlang.backends.linear.polynomial import check, polynomial

Tensor = torch.Tensor


def parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float = 1.0,
    segments: Tensor | None = None,
    causal: bool = True,
    normalise: Literal["none", "sum"] = "none",
    eps: float = 0.0,
    weights: Weights | None = None,
) -> Tensor:
    """Arguments and output as in :func:`chunkwise`; decays per channel take O(N^2 K) memory."""
    v, _ = with_ones(v, None, normalise)

    def forward(q: Tensor, k: Tensor, v: Tensor, segments: Tensor | None) -> tuple[Tensor, Tensor]:
        x = tokens(q, k, v, decay, beta, segments).widened()
        check(x, weights)
        q, k, v = x.q, x.k, x.v
        scores = _scores(q, k, x, scale, weights)
        if x.beta is not None:
            # (I + A) X = beta V: what the delta rule writes in place of the values.
            system = (x.beta * _scores(k, k, x, 1.0, None)).tril(-1)
            v = torch.linalg.solve_triangular(system, x.beta * v, upper=False, unitriangular=True)
        return scores @ v, v

    if causal:
        out, _ = forward(q, k, v, segments)
    else:
        out, _ = both_ways(forward, q, k, v, decay, beta, scale, segments, None, weights)
    return divided(out, normalise, eps, v.dtype)


def _scores(q: Tensor, k: Tensor, x: Tokens, scale: float, weights: Weights | None) -> Tensor:
    """Decayed weights ``[B, H, N, N]``, 0 for keys after the query."""
    if x.decay.shape[-1] == 1:
        score = q @ k.mT * scale
        score = score if weights is None else polynomial(score, weights)
        return score * runs.decays(x.decay)
    by_channel = runs.decays(x.decay.mT[..., None])
    return torch.einsum("bhik,bhjk,bhkij->bhij", q, k, by_channel) * scale
