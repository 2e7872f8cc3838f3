"""Choosing without scoring every candidate: runs that are halved again and again."""

from __future__ import annotations

import torch


def halved(
    scores: torch.Tensor, candidates: torch.Tensor, amount: int, *, centres: bool = False
) -> torch.Tensor:
    """At most ``amount`` candidates of each row, bool like ``candidates [..., R]``.

    The n candidates of a row, in their order, are cut into ``amount`` runs from i n // amount to
    (i + 1) n // amount. Each is halved, the first half is the smaller, and as many halves are kept,
    those whose first candidate (``centres``: the one ``size // 2`` behind it) scores best; of equal
    ones the first. It ends when n / amount, halved with them, is 1 or less (HiP attention, Lee et
    al. 2024). With ``amount`` candidates or fewer all are chosen.
    """
    if amount <= 0:
        return torch.zeros_like(candidates)
    count = candidates.sum(-1, keepdim=True)
    places = torch.sort(candidates.to(torch.uint8), dim=-1, descending=True, stable=True).indices
    ordered = scores.gather(-1, places)
    i = torch.arange(amount, device=scores.device)
    start = i * count // amount
    size = (i + 1) * count // amount - start
    nominal = count.clone()
    while bool((nominal > amount).any()):
        half = size // 2
        starts = torch.stack((start, start + half), -1).flatten(-2)
        sizes = torch.stack((half, size - half), -1).flatten(-2)
        asked = starts + sizes // 2 if centres else starts
        read = ordered.gather(-1, asked.clamp(max=scores.shape[-1] - 1))
        shown = torch.where(sizes > 0, read, -torch.inf)
        best = torch.sort(shown, dim=-1, descending=True, stable=True).indices[..., :amount]
        best = best.sort(-1).values  # in the order of keys, which decides between equal scores
        going = nominal > amount
        start = torch.where(going, starts.gather(-1, best), start)
        size = torch.where(going, sizes.gather(-1, best), size)
        nominal = (nominal + 1) // 2
    found = places.gather(-1, start.clamp(max=scores.shape[-1] - 1))
    picked = torch.zeros_like(candidates).scatter_reduce(-1, found, size > 0, "amax")
    return torch.where(count <= amount, candidates, picked)
