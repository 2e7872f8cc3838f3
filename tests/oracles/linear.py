"""Linear attention with decay, and softmax over prefixes: the recurrences, token by token.

The update of the state S [K, V], with a <= 0 the log-decay of the token:

    S = e^a S + k v^T                                   additive (a scalar, or one per channel)
    S = e^a S;  S = S + beta k (v - S^T k)^T            gated delta rule, arXiv 2412.06464
    out = scale S^T q                                   after the update
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]


def linear_attention(
    q: Floats,
    k: Floats,
    v: Floats,
    *,
    decay: Floats | None = None,
    beta: Floats | None = None,
    scale: float = 1.0,
    segments: Ints | None = None,
    initial: Floats | None = None,
) -> tuple[Floats, Floats]:
    """The outputs [B, H, N, V] and the states [B, H, K, V] after the last token.

    q, k, v [B, heads, N, ...] and the others may have fewer heads than H, which is the most that
    any has: head h reads head h // (H // heads). decay is [heads], [B, heads, N] or
    [B, heads, N, K]; beta [B, heads, N]. A segment that is not a row's first starts from 0.
    """
    batch, _, n, width = q.shape
    counts = [q.shape[1], k.shape[1], v.shape[1]]
    counts += [] if decay is None else [len(decay) if decay.ndim == 1 else decay.shape[1]]
    counts += [] if beta is None else [beta.shape[1]]
    heads = max(counts)
    out = np.zeros((batch, heads, n, v.shape[3]))
    final = np.zeros((batch, heads, width, v.shape[3]))
    for b in range(batch):
        for h in range(heads):
            state = np.zeros((width, v.shape[3])) if initial is None else initial[b, h].copy()
            for t in range(n):
                if segments is not None and t > 0 and segments[b, t] != segments[b, t - 1]:
                    state = np.zeros_like(state)
                key = _of(k, heads, b, h, t)
                state = np.exp(_decay(decay, heads, b, h, t, width))[:, None] * state
                write = _of(v, heads, b, h, t)
                if beta is not None:
                    write = _of(beta, heads, b, h, t) * (write - state.T @ key)
                state = state + np.outer(key, write)
                out[b, h, t] = scale * state.T @ _of(q, heads, b, h, t)
            final[b, h] = state
    return out, final


def _of(x: Floats, heads: int, b: int, h: int, t: int) -> Floats:
    found: Floats = x[b, h // (heads // x.shape[1]), t]
    return found


def _decay(decay: Floats | None, heads: int, b: int, h: int, t: int, width: int) -> Floats:
    if decay is None:
        return np.zeros(width)
    if decay.ndim == 1:
        return np.full(width, decay[h // (heads // len(decay))])
    return np.broadcast_to(_of(decay, heads, b, h, t), width)


def weighted_sum(
    q: Floats,
    k: Floats,
    v: Floats,
    weight: Callable[[float], float],
    *,
    log_decay: float = 0.0,
    causal: bool = True,
    normalise: bool = False,
    eps: float = 0.0,
) -> Floats:
    """One head, pair by pair: out_i = sum_j weight(q_i . k_j) e^(log_decay |i - j|) v_j.

    q, k [N, K], v [N, V]. normalise divides by the sum of the weights plus eps.
    """
    n = len(q)
    out = np.zeros((n, v.shape[1]))
    for i in range(n):
        total = eps
        for j in range(i + 1 if causal else n):
            w = weight(float(q[i] @ k[j])) * math.exp(log_decay * abs(i - j))
            out[i] += w * v[j]
            total += w
        if normalise:
            out[i] /= total
    return out


def prefix_softmax(s: Floats, v: Floats) -> Floats:
    """One head: out_i = softmax(s_0 .. s_i) . v. s [N], v [N, V]; all -inf so far gives 0."""
    out = np.zeros(v.shape)
    for i in range(len(s)):
        top = max(s[: i + 1])
        if top > -math.inf:
            weights = [math.exp(x - top) for x in s[: i + 1]]
            out[i] = sum(w * row for w, row in zip(weights, v, strict=False)) / sum(weights)
    return out
