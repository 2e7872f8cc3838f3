"""Rows without keys: what the pattern's rule gives them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Tensor = torch.Tensor
Edit = Callable[[Tensor, Tensor], Tensor]
"""From products of queries and keys ``[B, H, rows, keys]`` and the rows' places: edited scores."""


def filled(
    out: Tensor, lse: Tensor, met: Tensor, heads: tuple[int, int], rule: str, q: Tensor, k: Tensor,
    v: Tensor, edit: Edit, sink: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and lse, where rows of the heads that met no key follow the rule: "passthrough" of
    queries, "self" for the value at the own place, "full" for all keys."""
    first, last = heads
    mine = ~met[:, first:last]
    rows = mine.any(1).any(0).nonzero()[:, 0]
    if rule == "self":
        rows = rows[rows < k.shape[2]]
    if not len(rows):
        return out, lse
    old, norm = out[:, first:last], lse[:, first:last]
    if rule == "passthrough":
        made, found = q[:, first:last, rows], norm[:, :, rows]
    else:
        made, found = _alone(q, k, v, rows, edit, sink, own=rule == "self")
        made, found = made[:, first:last], found[:, first:last]
    new = old.index_copy(2, rows, made.to(old.dtype))
    out = _with(out, torch.where(mine[..., None], new, old), first, last)
    log = torch.where(mine, norm.index_copy(2, rows, found.to(norm.dtype)), norm)
    return out, _with(lse, log, first, last)


def _alone(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, edit: Edit, sink: Tensor | None, *, own: bool
) -> tuple[Tensor, Tensor]:
    """Attention of some rows, to the key at their own place or to all."""
    share = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(share, 1).float() for x in (k, v))
    asked = q[:, :, rows].float()
    products = (asked * k[:, :, rows]).sum(-1, keepdim=True) if own else asked @ k.mT
    scores = edit(products, rows).to(products.dtype)
    found = scores.logsumexp(-1)
    if sink is not None:
        found = torch.logaddexp(found, sink[:, :, rows].float())
    weights = (scores - torch.where(found == -math.inf, 0.0, found)[..., None]).exp()
    return (weights * v[:, :, rows] if own else weights @ v), found


def _with(x: Tensor, part: Tensor, first: int, last: int) -> Tensor:
    return torch.cat([x[:, :first], part, x[:, last:]], 1)
