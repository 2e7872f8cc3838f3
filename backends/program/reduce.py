"""Tokens reduced to one vector for each run of an axis, and moved to slots and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
Cut = tuple[int, int, int]
"""Of one axis: the size of a run, from one to the next, and how many there are."""


def pool(
    x: Tensor, lengths: Sequence[int], cuts: Sequence[Cut | None], own: Sequence[int],
    kept: Sequence[int], how: str, *, by_size: bool = False,
) -> Tensor:  # fmt: skip
    """``[B, H, tokens, D]`` -> ``[B, H, tokens of the kept axes, D]``.

    lengths, cuts: of the source's axes; None leaves one as it is. own: lengths of axes that the
    source does not have, along which the same vector stands everywhere. kept: the axes of the
    result, counted through the source's and these. by_size: means divide by a full run's size.
    """
    x = x.unflatten(2, tuple(lengths))
    for i, cut in enumerate(cuts):
        if cut is not None:
            x = reduced(x, 2 + i, lengths[i], cut, how, by_size)
    for count in own:
        x = x.unsqueeze(-2).expand(*x.shape[:-1], count, x.shape[-1])
    last = x.dim() - 1
    gone = [i for i in range(last - 2) if i not in kept]
    x = x.permute(0, 1, *(2 + i for i in kept), *(2 + i for i in gone), last)
    return x.flatten(2, last - 1)


def reduced(x: Tensor, dim: int, length: int, cut: Cut, how: str, by_size: bool) -> Tensor:
    """One dimension cut into runs, each reduced."""
    size, stride, count = cut
    first = torch.arange(count, device=x.device) * stride
    stop = (first + size).clamp(max=length)
    if how == "first":
        return x.index_select(dim, first)
    if how == "last":
        return x.index_select(dim, stop - 1)
    if how in ("max", "min"):
        high = how == "max"
        runs = _windows(x, dim, length, cut, -torch.inf if high else torch.inf)
        return runs.amax(-1) if high else runs.amin(-1)
    total = _windows(x, dim, length, cut, 0.0).sum(-1)
    if how == "sum":
        return total
    shape = [1] * x.dim()
    shape[dim] = count
    there = torch.full_like(stop, size) if by_size else stop - first
    return total / there.view(shape).to(total.dtype)


def _windows(x: Tensor, dim: int, length: int, cut: Cut, fill: float) -> Tensor:
    """The runs as a last dimension; a short one is filled up."""
    size, stride, count = cut
    need = max((count - 1) * stride + size, 0) if count else 0
    missing = max(need - length, 0)
    if missing:
        pad = [0, 0] * (x.dim() - 1 - dim) + [0, missing]
        x = F.pad(x, pad, value=fill)
    if count == 0:
        shape = list(x.shape)
        shape[dim] = 0
        return x.new_zeros((*shape, 1))
    return x.narrow(dim, 0, need).unfold(dim, size, stride)


def slots(chosen: Tensor, lists: int, count: int) -> tuple[Tensor, Tensor]:
    """Which token stands in each slot of each list ``[B, Hs, lists * count]``, the members in
    order, and whether one does. chosen: the set ``[B, Hs, tokens, lists]``."""
    members = chosen.reshape(*chosen.shape[:2], -1, lists).mT
    order = torch.sort(members.to(torch.int8), dim=-1, descending=True, stable=True).indices
    index = order[..., :count]
    there = members.gather(-1, index)
    if index.shape[-1] < count:  # more slots than tokens
        missing = (0, count - index.shape[-1])
        index, there = F.pad(index, missing), F.pad(there, missing)
    return index.flatten(2), there.flatten(2)


def take(x: Tensor, index: Tensor, there: Tensor) -> Tensor:
    """What stands in the slots; 0 where nothing does. x ``[B, H, tokens, D]``."""
    index, there = index[..., None], there[..., None]
    index = index.expand(len(x), x.shape[1], -1, x.shape[3])
    return torch.where(there, x.gather(2, index), 0.0)


def put(x: Tensor, index: Tensor, there: Tensor, tokens: int, start: int) -> Tensor:
    """The sum of the slots at their tokens ``[B, H, tokens, D]``; the first is at ``start``."""
    index, there = index[..., None], there[..., None]
    index = index.expand(len(x), x.shape[1], -1, x.shape[3])
    out = x.new_zeros(len(x), x.shape[1], tokens, x.shape[3])
    return out.scatter_add(2, index + start, torch.where(there, x, 0.0))
