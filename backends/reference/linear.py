"""Linear attention token by token, as its recurrence is written: the oracle of the engine.

``S = exp(decay) S + k v^T`` and ``out = scale q^T S``; polynomials of the score are sums of
products of features, and a divisor is the output for values of 1. Works in float64; gradients are
autograd's.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor
Weights = tuple[float, float, float]


def linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    delta: Tensor | None,
    segments: Tensor | None,
    state: Tensor | None,
    *,
    scale: float,
    weights: Weights,
    by_sum: bool,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Output ``[B, H, N, V]`` and the last state ``[B, H, K', V]``, V + 1 with a divisor.

    q, k ``[B, H, N, K]``, v ``[B, H, N, V]``, decay ``[B, H, N, 1 or K]``, delta ``[B, H, N, 1]``,
    segments ``[B, N]``; without ``causal`` the decay is the same for all tokens. weights: of
    ``c0 + c1 s + c2 s^2``, 0 1 0 for a delta rule. K' is K, or the number of features.
    """
    if by_sum:
        v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    if weights == (0.0, 1.0, 0.0):
        reads, writes = scale * q, k
    else:
        reads, writes = _features(q, scale, weights), _features(k, 1.0, None)
    if state is None:
        state = v.new_zeros((*q.shape[:2], writes.shape[3], v.shape[3]))
    if causal:
        out, state = _forwards(reads, writes, v, decay, delta, segments, state)
    else:
        out = _both_ways(reads, writes, v, decay, segments)
    if by_sum:
        total = out[..., -1:]
        none = total == 0
        out = torch.where(none, 0.0, out[..., :-1] / torch.where(none, 1.0, total))
    return out, state


def _forwards(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    delta: Tensor | None,
    segments: Tensor | None,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    outs = [v[:, :, :0]]
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
        outs.append((q[:, :, t, :, None] * state).sum(2)[:, :, None])
    return torch.cat(outs, 2), state


def _both_ways(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, segments: Tensor | None) -> Tensor:
    """Every pair with its weight: the score times the decays of the tokens between."""
    place = torch.arange(q.shape[2], device=q.device)
    away = (place[:, None] - place[None, :]).abs()
    between = torch.where(away == 0, 0.0, away * decay[:, :, :1])
    weights = (q @ k.transpose(-1, -2)) * between.exp()
    if segments is not None:
        same = segments[:, None, :, None] == segments[:, None, None, :]
        weights = torch.where(same, weights, 0.0)
    return weights @ v


def _features(x: Tensor, scale: float, weights: Weights | None) -> Tensor:
    """1, the entries of x, and the products of two of them, each pair once.

    With weights they are those of a query: times what each counts in ``c0 + c1 s + c2 s^2``.
    """
    width = x.shape[-1]
    c0, c1, c2 = weights or (1.0, 1.0, 1.0)
    parts = [torch.full_like(x[..., :1], c0), c1 * scale * x]
    for i in range(width):
        rest = x[..., i : i + 1] * x[..., i:]
        twice = torch.full_like(rest, 1.0 if weights is None else 2.0)
        twice[..., 0] = 1.0
        parts.append(c2 * scale * scale * twice * rest)
    return torch.cat(parts, -1)


def prefixes(
    s: Tensor,
    v: Tensor,
    segments: Tensor | None,
    state: tuple[Tensor, Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``softmax(s_0 .. s_i) . v`` and the largest score, the sum and the weighted sum at the end.

    s ``[B, H, N]``, v ``[B, H, N, V]``. Sums are below the largest score so far: e^(s - m).
    """
    none = s.new_full(s.shape[:2], -torch.inf, dtype=v.dtype)
    m, u, w = state or (none, torch.zeros_like(none), v.new_zeros((*s.shape[:2], v.shape[3])))
    outs = [v[:, :, :0]]
    for t in range(s.shape[2]):
        if segments is not None and t:
            begins = (segments[:, t] != segments[:, t - 1])[:, None]
            m, u = torch.where(begins, -torch.inf, m), torch.where(begins, 0.0, u)
            w = torch.where(begins[..., None], 0.0, w)
        here = s[:, :, t].to(v.dtype)
        top = torch.maximum(m, here).detach()
        base = torch.where(top == -torch.inf, 0.0, top)
        kept, added = (m - base).exp(), (here - base).exp()
        u = kept * u + added
        w = kept[..., None] * w + added[..., None] * v[:, :, t]
        m = top
        total = torch.where(u > 0, u, 1.0)[..., None]
        outs.append((w / total)[:, :, None])
    return torch.cat(outs, 2), m, u, w
