"""Functions of whole vectors ``[B, H, N, D]``, of float32 or better."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
ARITHMETIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.true_divide,
}


def normalize(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


def total(x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "cos": torch.cos,
    "sin": torch.sin,
    "softmax": softmax,
    "normalize": normalize,
    "rms_norm": rms_norm,
    "layer_norm": layer_norm,
    "total": total,
}


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Each feature of the first half turned with one of the second."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def one_hot(x: Tensor) -> Tensor:
    """A feature for each token, 1 at its own."""
    places = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    return places.expand(*x.shape[:2], -1, -1)


def join_heads(x: Tensor) -> Tensor:
    """The features of all heads one behind the other, in every head."""
    joined = x.transpose(1, 2).flatten(2)[:, None]
    return joined.expand(-1, x.shape[1], -1, -1)


def split_heads(x: Tensor) -> Tensor:
    """``[B, H, N, H * D]`` -> ``[B, H, N, D]``: head h has the features from h * D on."""
    heads = x.shape[1]
    return torch.stack([x[:, h].chunk(heads, -1)[h] for h in range(heads)], 1)


def group_mean(x: Tensor, kv_heads: int) -> Tensor:
    """The mean over the heads of a key head, in each of them."""
    batch, heads, tokens, width = x.shape
    groups = x.reshape(batch, kv_heads, heads // kv_heads, tokens, width)
    return groups.mean(2, keepdim=True).expand_as(groups).flatten(1, 2)


def pinv(x: Tensor) -> Tensor:
    """Six steps towards the inverse of ``[..., N, N]``, of the third order, from the transpose.

    Razavi et al. (2014), as Nystromformer has it.
    """
    one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    norms = [x.abs().sum(d).amax(-1)[..., None, None] for d in (-1, -2)]
    found = x.transpose(-1, -2) / (norms[0] * norms[1])
    for _ in range(6):
        near = x @ found
        found = 0.25 * found @ (13 * one - near @ (15 * one - near @ (7 * one - near)))
    return found


def project(x: Tensor, table: Tensor, by_head: bool) -> Tensor:
    """The products of features with every row of a table ``[B or 1, (H,) rows, D]``.

    Either may have the heads of keys alone, which then stand for those of their queries.
    """
    table = table.to(x.dtype) if by_head else table.to(x.dtype)[:, None]
    heads = max(x.shape[1], table.shape[1])
    if by_head:
        x, table = (y.repeat_interleave(heads // y.shape[1], 1) for y in (x, table))
    return x @ table.transpose(-1, -2)


def merge(outs: Sequence[Tensor], lses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One softmax over the keys of all: weights from the log-sum-exps."""
    logs = torch.stack([*lses])
    top = logs.amax(0)
    top = torch.where(top.isinf(), 0.0, top)
    weights = torch.exp(logs - top)
    total = weights.sum(0)
    none = total == 0
    safe = torch.where(none, 1.0, total)
    out = torch.stack([w[..., None] * x for w, x in zip(weights, outs, strict=True)]).sum(0)
    return out / safe[..., None], torch.where(none, -torch.inf, top + torch.log(safe))
