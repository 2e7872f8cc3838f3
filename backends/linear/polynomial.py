"""Weights that are polynomials of the score, as products of features of query and key.

``1 + x + x**2 / 2`` is the kernel of Based (Arora et al., arXiv 2402.18668).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from attnlang.backends.linear.form import Tokens, Weights

Tensor = torch.Tensor


def polynomial(x: Tensor, weights: Weights) -> Tensor:
    """``c0 + c1 x + c2 x**2``."""
    c0, c1, c2 = weights
    return (c2 * x + c1) * x + c0


def polynomial_slope(x: Tensor, weights: Weights) -> Tensor:
    """The derivative of :func:`polynomial`."""
    _, c1, c2 = weights
    return 2 * c2 * x + c1


def features(x: Tensor) -> Tensor:
    """``[..., K]`` to ``[..., 1 + K + K (K + 1) / 2]``: 1, x and the products of two entries.

    One of the two equal products x_i x_j and x_j x_i is left out.
    """
    rows, columns = _pairs(x)
    return torch.cat((torch.ones_like(x[..., :1]), x, x[..., rows] * x[..., columns]), -1)


def feature_count(width: int) -> int:
    """The number of features of K channels."""
    return 1 + width + width * (width + 1) // 2


def features_adjoint(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient of x from that of its :func:`features`."""
    width = x.shape[-1]
    rows, columns = _pairs(x)
    once, twice = grad[..., 1 : 1 + width], grad[..., 1 + width :]
    out = once.clone()
    out.index_add_(-1, rows, twice * x[..., columns])
    return out.index_add_(-1, columns, twice * x[..., rows])


def coefficients(x: Tensor, scale: float, weights: Weights) -> Tensor:
    """What the products of the features of q and k count, ``[1 + K + K (K + 1) / 2]``."""
    rows, columns = _pairs(x)
    c0, c1, c2 = weights
    twice = torch.where(rows == columns, 1.0, 2.0).to(x.dtype) * (c2 * scale * scale)
    ones = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.cat((ones[:1] * c0, ones * (c1 * scale), twice))


def lifted(x: Tokens, scale: float, weights: Weights | None) -> Tokens:
    """The same weights as plain products of longer queries and keys; queries take the scale."""
    q = x.q.to(x.dtype)
    if weights is None:
        return replace(x, q=q * scale)
    check(x, weights)
    return replace(x, q=features(q) * coefficients(q, scale, weights), k=features(x.k.to(x.dtype)))


def check(x: Tokens, weights: Weights | None) -> None:
    """Raises ValueError where a polynomial of the score is not a sum of features."""
    if weights is not None and (x.beta is not None or x.decay.shape[-1] > 1):
        raise ValueError("polynomial weights go with no decay, or one per head or token")


def _pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    return rows, columns
