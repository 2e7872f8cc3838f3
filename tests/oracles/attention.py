"""Softmax attention over the visible keys, in float64, row by row."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Mask

Floats = npt.NDArray[np.float64]


def attention(
    q: npt.NDArray[np.floating],
    k: npt.NDArray[np.floating],
    v: npt.NDArray[np.floating],
    mask: Mask,
    *,
    scale: float | None = None,
    edit: Callable[[Floats], Floats] | None = None,
    sink: npt.NDArray[np.floating] | None = None,
    passthrough: bool = False,
) -> tuple[Floats, Floats]:
    """The outputs [B, Hq, Nq, Dv] and the log-sum-exp of every row [B, Hq, Nq].

    The shapes are q [B, Hq, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv]; query head h reads key
    head h // (Hq // Hkv). `mask` is [H or 1, Nq, Nk] or [B, H or 1, Nq, Nk]. `edit` sees all scaled
    scores [B, Hq, Nq, Nk] before the mask. `sink` [Hq] or [Hq, Nq] is one more logit of the
    denominator, without a value. A row that sees nothing gives 0, or with `passthrough` its query,
    and the log-sum-exp of its sink, or -inf.
    """
    q, k, v = q.astype(np.float64), k.astype(np.float64), v.astype(np.float64)
    batch, heads, n_q, dim = q.shape
    kv_heads, n_k = k.shape[1], k.shape[2]
    if heads % kv_heads:
        raise ValueError(f"{heads} query heads cannot share {kv_heads} key heads")
    if scale is None:
        scale = 1.0 / math.sqrt(dim)
    visible = np.broadcast_to(mask, (batch, heads, n_q, n_k))

    scores = np.zeros((batch, heads, n_q, n_k))
    for b in range(batch):
        for h in range(heads):
            for i in range(n_q):
                for j in range(n_k):
                    key = k[b, h // (heads // kv_heads), j]
                    scores[b, h, i, j] = scale * float(np.dot(q[b, h, i], key))
    if edit is not None:
        scores = edit(scores)

    out = np.zeros((batch, heads, n_q, v.shape[3]))
    lse = np.zeros((batch, heads, n_q))
    for b in range(batch):
        for h in range(heads):
            for i in range(n_q):
                seen = [j for j in range(n_k) if visible[b, h, i, j]]
                logits = [float(scores[b, h, i, j]) for j in seen]
                if sink is not None:
                    logits.append(float(np.broadcast_to(sink.T, (n_q, heads))[i, h]))
                lse[b, h, i] = _log_sum_exp(logits)
                if passthrough and not seen:
                    out[b, h, i] = q[b, h, i]
                if lse[b, h, i] == -math.inf:
                    continue
                for j in seen:
                    weight = math.exp(scores[b, h, i, j] - lse[b, h, i])
                    out[b, h, i] += weight * v[b, h // (heads // kv_heads), j]
    return out, lse


def _log_sum_exp(logits: list[float]) -> float:
    top = max(logits, default=-math.inf)
    if top == -math.inf:
        return -math.inf
    return top + math.log(sum(math.exp(x - top) for x in logits))
