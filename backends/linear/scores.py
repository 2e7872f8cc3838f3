"""Decayed weights of the pairs of one chunk, and their adjoint.

Scalar decays multiply the matrix of scores. Decays per channel halve the chunk again and again:
the pairs of a query in the second half and a key in the first are one product of queries decayed
since the second half began and keys decayed until then; both exponents are at most 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from attnlang.backends.linear import runs
from attnlang.backends.linear.form import Weights
from attnlang.backends.linear.polynomial import polynomial, polynomial_slope

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """weights ``[..., C, C]``, 0 for keys after the query. slope: their derivative by q.k; None
    with decays per channel."""

    weights: Tensor
    slope: Tensor | None


@dataclass(frozen=True, slots=True)
class Decays:
    """a ``[..., C, 1 or K]`` log-decays; pairs ``[..., C, C]`` the decays of pairs, if scalar."""

    a: Tensor
    pairs: Tensor | None


def decays(a: Tensor, constant: bool) -> Decays:
    """Of chunks ``[..., n, C, 1 or K]``. With a constant decay the first chunk stands for all:
    it is whole, the last may be padded."""
    if a.shape[-1] > 1:
        return Decays(a, None)
    return Decays(a, runs.decays(a[..., :1, :, :] if constant else a))


def scores(q: Tensor, k: Tensor, decay: Decays, scale: float, weights: Weights | None) -> Scores:
    """q, k ``[..., C, K]``."""
    if decay.pairs is None:
        return Scores(_halves(q, k, decay.a) * scale, None)
    if weights is None:
        slope = decay.pairs * scale
        return Scores((q @ k.mT) * slope, slope)
    x = (q @ k.mT) * scale
    slope = polynomial_slope(x, weights) * scale * decay.pairs
    return Scores(polynomial(x, weights) * decay.pairs, slope)


def scores_adjoint(
    q: Tensor, k: Tensor, decay: Decays, scale: float, found: Scores, grad: Tensor,
    need_decay: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """The gradients of q, k and the log-decays from that of the weights ``[..., C, C]``.

    With a constant decay the last is that of one chunk, and None where it is not needed.
    """
    if decay.pairs is None or found.slope is None:
        return _halves_adjoint(q, k, decay.a, grad.tril() * scale)
    d_score = grad * found.slope
    d_q, d_k = d_score @ k, d_score.mT @ q
    if not need_decay:
        return d_q, d_k, None
    d_pairs = (grad * found.weights).sum_to_size(decay.pairs.shape)
    return d_q, d_k, runs.between_adjoint(d_pairs)


def plus_pairs(d_a: Tensor, d_pairs: Tensor | None, a: Tensor) -> Tensor:
    """The gradient of a ``[..., n, C, 1 or K]``: both parts, added up where a is shared.

    With a constant decay d_pairs is that of one chunk: the first, which stands for all.
    """
    assert d_pairs is not None
    d_a = d_a.sum_to_size(a.shape)
    if d_pairs.shape[-3] == d_a.shape[-3]:
        return d_a + d_pairs.sum_to_size(a.shape)
    return torch.cat((d_a[..., :1, :, :] + d_pairs, d_a[..., 1:, :, :]), -3)


def _halves(q: Tensor, k: Tensor, a: Tensor) -> Tensor:
    """C is a power of two."""
    size = q.shape[-2]
    if size == 1:
        return (q * k).sum(-1, keepdim=True)
    q2, k1, since, until = _across(q, k, a)
    within = _halves(*(x.unflatten(-2, (2, size // 2)) for x in (q, k, a)))
    top = F.pad(within[..., 0, :, :], (0, size // 2))
    bottom = torch.cat(((q2 * since) @ (k1 * until).mT, within[..., 1, :, :]), -1)
    return torch.cat((top, bottom), -2)


def _halves_adjoint(q: Tensor, k: Tensor, a: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = q.shape[-2]
    if size == 1:
        return grad * k, grad * q, torch.zeros_like(a)
    half = size // 2
    q2, k1, since, until = _across(q, k, a)
    block = grad[..., half:, :half]
    d_q2 = block @ (k1 * until) * since
    d_k1 = block.mT @ (q2 * since) * until
    d_since, d_until = d_q2 * q2, d_k1 * k1
    d_a1 = runs.before(d_until)
    # Every pair decays by the second half's first token.
    d_a2 = torch.cat((d_until.sum(-2, keepdim=True), runs.from_(d_since)[..., 1:, :]), -2)
    inner = torch.stack((grad[..., :half, :half], grad[..., half:, half:]), -3)
    halved = [x.unflatten(-2, (2, half)) for x in (q, k, a)]
    found = _halves_adjoint(halved[0], halved[1], halved[2], inner)
    d_q, d_k, d_a = (x.flatten(-3, -2) for x in found)
    d_q = torch.cat((d_q[..., :half, :], d_q[..., half:, :] + d_q2), -2)
    d_k = torch.cat((d_k[..., :half, :] + d_k1, d_k[..., half:, :]), -2)
    return d_q, d_k, d_a + torch.cat((d_a1, d_a2), -2)


def _across(q: Tensor, k: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries of the second half, keys of the first, and the decays of both to where they meet."""
    half = q.shape[-2] // 2
    a1, a2 = a[..., :half, :], a[..., half:, :]
    since = F.pad(a2[..., 1:, :], (0, 0, 1, 0)).cumsum(-2).exp()
    until = (runs.after(a1) + a2[..., :1, :]).exp()
    return q[..., half:, :], k[..., :half, :], since, until
