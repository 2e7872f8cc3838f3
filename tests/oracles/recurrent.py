"""Linear attention written twice: token by token, and pair by pair with an explicit decay matrix.

Everything is one array per query head, in float64: q, k [B, H, N, K], v [B, H, N, V], decay
[B, H, N, K] the logarithms, beta [B, H, N]. Factors of scores stand in q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Sums:
    """A linear attention. divide: by the sum of the weights. causal: over the past alone."""

    q: Floats
    k: Floats
    v: Floats
    decay: Floats | None = None
    beta: Floats | None = None
    divide: bool = False
    causal: bool = True

    def row(self, b: int, h: int) -> Sums:
        """One sequence and head."""
        decay = np.zeros_like(self.k) if self.decay is None else self.decay
        beta = None if self.beta is None else self.beta[b, h]
        rest = (self.q[b, h], self.k[b, h], self.v[b, h], decay[b, h], beta)
        return Sums(*rest, self.divide, self.causal)


def recurrent(x: Sums, doc: Ints | None = None) -> Floats:
    """S = e^a S + k v^T, or S = e^a S; S = S + beta k (v - S^T k)^T; out = S^T q."""
    out = np.zeros((*x.q.shape[:3], x.v.shape[3]))
    for b, h in np.ndindex(*x.q.shape[:2]):
        here = x.row(b, h)
        ids = [0] * len(here.q) if doc is None else list(doc[b])
        out[b, h] = _tokens(here, ids) if x.causal else _everything(here, ids)
    return out


def _tokens(x: Sums, ids: list[int]) -> Floats:
    assert x.decay is not None
    state, total = np.zeros((x.k.shape[1], x.v.shape[1])), np.zeros(x.k.shape[1])
    out = np.zeros(x.v.shape)
    for t, (key, value) in enumerate(zip(x.k, x.v, strict=True)):
        if t and ids[t] != ids[t - 1]:
            state, total = np.zeros_like(state), np.zeros_like(total)
        state = np.exp(x.decay[t])[:, None] * state
        total = np.exp(x.decay[t]) * total + key
        write = value if x.beta is None else x.beta[t] * (value - state.T @ key)
        state = state + np.outer(key, write)
        out[t] = _divided(state.T @ x.q[t], float(total @ x.q[t]), x.divide)
    return out


def _everything(x: Sums, ids: list[int]) -> Floats:
    """Without an order: one sum for each document."""
    out = np.zeros(x.v.shape)
    for t, here in enumerate(ids):
        mine = [j for j, other in enumerate(ids) if other == here]
        state = sum(np.outer(x.k[j], x.v[j]) for j in mine)
        total = sum(x.k[j] for j in mine)
        out[t] = _divided(state.T @ x.q[t], float(total @ x.q[t]), x.divide)
    return out


def _divided(out: Floats, total: float, divide: bool) -> Floats:
    if not divide:
        return out
    return out / total if total != 0 else np.zeros_like(out)


def parallel(x: Sums, doc: Ints | None = None) -> Floats:
    """Every pair: the product of features, each times its decays after the key."""
    out = np.zeros((*x.q.shape[:3], x.v.shape[3]))
    for b, h in np.ndindex(*x.q.shape[:2]):
        here = x.row(b, h)
        ids = np.zeros(len(here.q)) if doc is None else doc[b]
        allowed = ids[:, None] == ids[None, :]
        if x.causal:
            allowed &= np.tril(np.ones_like(allowed))
        factors = np.exp(np.where(allowed[..., None], _between(here), -np.inf))
        scores = np.einsum("ic,jc,ijc->ij", here.q, here.k, factors)
        values = here.v if here.beta is None else _corrected(here, factors)
        for i, row in enumerate(scores):
            out[b, h, i] = _divided(row @ values, float(row.sum()), x.divide)
    return out


def _between(x: Sums) -> Floats:
    """[N, N, K]: the decays of the tokens after j up to i, summed one by one."""
    assert x.decay is not None
    n, width = x.k.shape
    found = np.zeros((n, n, width))
    for j in range(n):
        for i in range(j + 1, n):
            found[i, j] = found[i - 1, j] + x.decay[i]
    return found


def _corrected(x: Sums, factors: Floats) -> Floats:
    """u = beta (v - sum over earlier j of (k_i . k_j, decayed) u_j), a triangular system."""
    assert x.beta is not None
    products = np.einsum("ic,jc,ijc->ij", x.k, x.k, factors)
    system = np.eye(len(x.k)) + x.beta[:, None] * np.tril(products, -1)
    found: Floats = np.linalg.solve(system, x.beta[:, None] * x.v)
    return found


def weighed(
    weights: Floats, v: Floats, doc: Ints | None = None, *, causal: bool, divide: bool
) -> Floats:
    """From the weight of every pair [B, H, N, N]."""
    b, _, n, _ = weights.shape
    ids = np.zeros((b, n)) if doc is None else doc
    allowed = (ids[:, :, None] == ids[:, None, :])[:, None]
    if causal:
        allowed = allowed & np.tril(np.ones((n, n), dtype=bool))
    kept = np.where(allowed, weights, 0.0)
    out = kept @ v
    if divide:
        total = kept.sum(-1, keepdims=True)
        out = np.where(total == 0, 0.0, out / np.where(total == 0, 1.0, total))
    return out


# -- what the papers put in -----------------------------------------------------------------


def alibi_slopes(heads: int) -> list[float]:
    """Powers of 2^(-8 / H); other counts take every second slope of twice as many."""
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)]
    lower = 2 ** int(math.log2(heads))
    return alibi_slopes(lower) + alibi_slopes(2 * lower)[0::2][: heads - lower]


def lightning_slopes(convention: str, heads: int, layer: int, layers: int) -> list[float]:
    if convention == "repo":
        share = 1 - layer / (layers - 1) + 1e-5 if layers > 1 else 1 + 1e-5
        return [s * share for s in alibi_slopes(heads)]
    at = layer + 1 if convention == "paper" else layer
    return [8.0 * h / heads * (1 - at / layers) for h in range(heads)]


def constant(x: Sums, slopes: list[float]) -> Sums:
    """With one log-decay for each head, given as what it falls by."""
    return replace(x, decay=np.zeros_like(x.k) - np.array(slopes)[:, None, None])


def silu(x: Floats) -> Floats:
    return x / (1 + np.exp(-x))


def unit(x: Floats) -> Floats:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rms_norm(x: Floats) -> Floats:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def rotary(x: Floats, base: float) -> Floats:
    """Feature c of the first half and c of the second as a complex number, turned by position."""
    half = x.shape[-1] // 2
    turns = np.exp(1j * np.arange(x.shape[2])[:, None] * base ** (-np.arange(half) / half))
    turned = (x[..., :half] + 1j * x[..., half:]) * turns
    return np.concatenate([turned.real, turned.imag], -1)


def taylor(x: Floats) -> Floats:
    """[1, x / d^(1/4), the products of two features / sqrt(2 d)]."""
    d = x.shape[-1]
    pairs = (x[..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], d * d)
    return np.concatenate([np.ones_like(x[..., :1]), x / d**0.25, pairs / math.sqrt(2 * d)], -1)


def positive_features(x: Floats, w: Floats) -> Floats:
    """exp(w . x - |x|^2 / 2) of x / d^(1/4); w [H, M, K]."""
    x = x / x.shape[-1] ** 0.25
    return np.exp(x @ w.swapaxes(-1, -2) - 0.5 * (x * x).sum(-1, keepdims=True))
