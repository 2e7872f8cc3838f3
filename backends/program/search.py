"""Choosing without scoring every candidate: runs that are halved again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

Tensor = torch.Tensor
Probe: TypeAlias = Callable[[Tensor], Tensor]
"""The scores of candidates ``[..., P]``, counted from the first of each row: ``[..., P]``."""


def representative(start: Tensor, size: Tensor, centres: bool) -> Tensor:
    """The candidate whose score is its run's: the first, or the one ``size // 2`` behind it."""
    return start + size // 2 if centres else start


def refined(
    count: Tensor, amount: int, probe: Probe, *, centres: bool = False
) -> tuple[Tensor, Tensor]:
    """At most ``amount`` of the ``count [..., 1]`` candidates of each row, ``[..., amount]``: which
    ones in their order, and whether there is one.

    The n candidates of a row are cut into ``amount`` runs, from i n // amount on, to that of i + 1.
    Each is halved, the first half is the smaller, and as many halves are kept, those with the best
    scores; of equal ones the first. It ends when n / amount, halved with them, is 1 or less (HiP
    attention, Lee et al. 2024). With ``amount`` candidates or fewer all are chosen. A half that is
    represented as its run was is not asked again.
    """
    i = torch.arange(amount, device=count.device)
    start = i * count // amount
    size = (i + 1) * count // amount - start
    nominal, scores, asked = count.clone(), None, start
    while bool((nominal > amount).any()):
        half = size // 2
        starts = torch.stack((start, start + half), -1)
        sizes = torch.stack((half, size - half), -1)
        at = representative(starts, sizes, centres)
        if scores is None or not torch.equal(at[..., 0], asked):
            scores = probe(at[..., 0])
        scores = torch.stack((scores, probe(at[..., 1])), -1).flatten(-2)
        starts, sizes = starts.flatten(-2), sizes.flatten(-2)
        shown = torch.where(sizes > 0, scores, -torch.inf)
        best = torch.sort(shown, dim=-1, descending=True, stable=True).indices[..., :amount]
        best = best.sort(-1).values  # in the order of keys, which decides between equal scores
        going = nominal > amount
        start = torch.where(going, starts.gather(-1, best), start)
        size = torch.where(going, sizes.gather(-1, best), size)
        scores, asked = scores.gather(-1, best), representative(start, size, centres)
        nominal = torch.where(going, (nominal + 1) // 2, nominal)
    return start, size > 0


def halved(scores: Tensor, candidates: Tensor, amount: int, *, centres: bool = False) -> Tensor:
    """The same of ``candidates [..., R]`` whose scores are there, as bool of their shape."""
    if amount <= 0:
        return torch.zeros_like(candidates)
    count = candidates.sum(-1, keepdim=True)
    places = torch.sort(candidates.to(torch.uint8), dim=-1, descending=True, stable=True).indices
    ordered, last = scores.gather(-1, places), scores.shape[-1] - 1

    def probe(at: Tensor) -> Tensor:
        return ordered.gather(-1, at.clamp(max=last))

    found, there = refined(count, amount, probe, centres=centres)
    picked = torch.zeros_like(candidates)
    return picked.scatter_reduce(-1, places.gather(-1, found.clamp(max=last)), there, "amax")
