"""Linear attention token by token, as its recurrence is written: the oracle of the engine.

``S = exp(decay) S + k v^T`` and ``out = scale q^T S``, or with a polynomial the weights of all past
keys. Works in float64; gradients are autograd's.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    delta: Tensor | None,
    segments: Tensor | None,
    state: Tensor,
    *,
    scale: float,
    weights: tuple[float, float, float],
    by_sum: bool,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Output ``[B, H, N, V]`` and the last state ``[B, H, K, V]``.

    q, k ``[B, H, N, K]``, v ``[B, H, N, V]``, decay ``[B, H, N, 1 or K]``, delta ``[B, H, N, 1]``,
    segments ``[B, N]``. weights: of ``c0 + c1 s + c2 s^2``; a delta rule has (0, 1, 0).
    """
    if weights != (0.0, 1.0, 0.0) or by_sum or not causal:
        return _weighed(q, k, v, decay, segments, scale, weights, by_sum, causal), state
    outs = []
    for t in range(q.shape[2]):
        kept = decay[:, :, t].exp()[..., None]
        if segments is not None and t:
            same = segments[:, t] == segments[:, t - 1]
            kept = kept * same.view(-1, 1, 1, 1)
        state = kept * state
        key, value = k[:, :, t, :, None], v[:, :, t, None, :]
        if delta is not None:
            read = (key * state).sum(2, keepdim=True)
            value = delta[:, :, t, None] * (value - read)
        state = state + key * value
        outs.append(scale * (q[:, :, t, :, None] * state).sum(2))
    return torch.stack(outs, 2), state


def _weighed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    segments: Tensor | None,
    scale: float,
    weights: tuple[float, float, float],
    by_sum: bool,
    causal: bool,
) -> Tensor:
    """Every pair with its weight: the score's polynomial times the decays between."""
    n = q.shape[2]
    total = decay.cumsum(2)
    between = total[:, :, :, None] - total[:, :, None, :]  # [B, H, N, N, 1 or K]
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    allowed = (j <= i).to(q.device) if causal else torch.ones((n, n), dtype=torch.bool)
    allowed = allowed.to(q.device).expand(q.shape[0], 1, n, n)
    if segments is not None:
        allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    factor = torch.where(allowed[..., None], -between.abs(), 0.0).exp()
    s = scale * (q[:, :, :, None] * k[:, :, None] * factor).sum(-1)
    if weights != (0.0, 1.0, 0.0):
        plain = scale * (q @ k.transpose(-1, -2))
        s = (weights[0] + weights[1] * plain + weights[2] * plain * plain) * factor[..., 0]
    s = torch.where(allowed, s, 0.0)
    out = s @ v
    if by_sum:
        divisor = s.sum(-1, keepdim=True)
        none = divisor == 0
        out = torch.where(none, 0.0, out / torch.where(none, 1.0, divisor))
    return out
