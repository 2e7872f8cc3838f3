"""The rules of selections: which of the scored candidates are chosen.

Equal scores: the key that comes first is the better one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch

from attnlang.backends.precision import accumulation_dtype
from attnlang.backends.program.search import halved

Scores: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Scores ``[B, heads of the set, queries, keys]`` and which of them are candidates."""


def normalised(scores: torch.Tensor, allowed: torch.Tensor, how: str) -> torch.Tensor:
    """Scores of the candidates of each query, as the rule and other heads meet them."""
    if how == "softmax" and scores.shape[-1]:
        shown = torch.where(allowed, scores, -torch.inf)
        top = shown.amax(-1, keepdim=True)
        weight = torch.exp(shown - torch.where(top.isinf(), 0.0, top))
        return weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return scores


def shared(parts: Iterator[Scores], how: str) -> Scores:
    """The scores of heads that share a set as one, and what is a candidate for all of them.

    parts: of one head of each set after the other, so that they never stand beside each other.
    """
    total, allowed = next(parts)
    count = 1
    for scores, here in parts:
        total = torch.maximum(total, scores) if how == "max" else total + scores
        allowed = allowed & here
        count += 1
    return total / count if how == "mean" else total, allowed


def by_set(x: torch.Tensor, sets: int) -> torch.Tensor:
    """``[B, H, ...]`` with the heads that share a set in a dimension of their own."""
    found: torch.Tensor = x.unflatten(1, (sets, -1))
    return found


def gathered(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    belongs: torch.Tensor,
    weight: torch.Tensor,
    how: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores ``[B, H, Nq, R]`` of runs, from those of the candidates that belong to them, times
    their weights.

    belongs, weight: ``[R, U]``. Runs of queries come the same way with queries and keys exchanged.
    """
    if 0 in scores.shape:
        none = allowed.new_zeros((*allowed.shape[:3], len(belongs)))
        return none.to(scores.dtype), none
    weight = weight.to(scores.dtype)
    members = allowed.to(scores.dtype) @ belongs.to(scores.dtype).T
    some = members > 0
    if how == "max":  # one run at a time: the product of runs, queries and keys is too large
        pairs = zip(belongs, weight, strict=True)
        best = [torch.where(allowed & r, scores * w, -torch.inf).amax(-1) for r, w in pairs]
        return torch.stack(best, -1), some
    total = torch.where(allowed, scores, 0.0) @ torch.where(belongs, weight, 0.0).T
    if how == "mean":
        total = total / members.clamp(min=1)
    return total, some


def chosen(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    forced: torch.Tensor | None,
    kind: str,
    amount: float | torch.Tensor,
    lengths: Sequence[int],
    *,
    by_head: bool,
    per: Sequence[int],
    minmax: bool = False,
    halving: bool = False,
    ties: bool = False,
    largest: bool = False,
) -> torch.Tensor:
    """The set, bool ``[B, (Hs,) *lengths]``, of scores ``[B, Hs, Nq, R]``.

    forced: members whatever their score, counted first. kind: "top", "above" or "mass". amount: how
    many, how much; or the set that says how many, by its ``largest`` choice or each by its own.
    lengths: of the queries' and keys' axes. per: the dimensions that each choice is made for.
    minmax: are scores moved to 0 to 1 first? halving: does a search leave candidates unasked?
    ties: does what equals the last chosen come along?
    """
    shape = (*scores.shape[: 1 + by_head], *lengths)
    if 0 in shape:
        return allowed.new_zeros(shape)
    among = [i for i in range(1, len(shape)) if i - 1 not in per]
    kept = [i for i in range(len(shape)) if i not in among]
    order = [*kept, *among]
    if forced is None:
        forced = torch.zeros_like(allowed)
    rows, candidates, always = (
        x.expand(scores.shape).reshape(shape).permute(order).flatten(len(kept))
        for x in (scores, allowed, forced)
    )
    if minmax:
        rows = _minmax(rows, candidates | always)
    if isinstance(amount, torch.Tensor):
        amount = amount.permute(order).flatten(len(kept)).sum(-1, keepdim=True)
        if largest:
            amount = amount.amax([*range(1, amount.dim())], keepdim=True)
    if kind == "top" and halving:
        picked = halved(rows, candidates, int(amount))
    elif kind == "top":
        picked = _top(rows, candidates, always, amount)
        if ties:
            picked = picked | _ties(rows, candidates & ~always, picked)
    elif kind == "above":
        picked = candidates & (rows > amount)
    else:
        picked = _mass(rows, candidates, always, float(amount))
    picked = (picked | always).view([shape[i] for i in order])
    return picked.permute([order.index(i) for i in range(len(shape))])


def members(
    scored: Callable[[torch.Tensor], Scores], heads: int, sets: int, normalise: str, share: str,
    device: torch.device,
) -> Scores:  # fmt: skip
    """Scores of sets from those of the heads that share them. scored: those of some heads.

    Heads of a set come one after the other, so that their scores never stand beside each other.
    """
    every = heads // sets

    def parts() -> Iterator[Scores]:
        for member in range(every):
            scores, allowed = scored(torch.arange(member, heads, every, device=device))
            yield normalised(scores, allowed, normalise), allowed

    return shared(parts(), share)


def head_products(q: torch.Tensor, k: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
    """``[B, heads, Nq, U]``: queries of some heads times all keys."""
    dtype = accumulation_dtype(q.dtype)
    own = heads // (q.shape[1] // k.shape[1])
    return q[:, heads].to(dtype) @ k[:, own].to(dtype).mT


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """The indices of each row from the largest value down; of equal ones the first comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices


def _top(
    rows: torch.Tensor,
    candidates: torch.Tensor,
    always: torch.Tensor,
    amount: float | torch.Tensor,
) -> torch.Tensor:
    largest = torch.finfo(rows.dtype).max  # no candidate comes before what is forced
    ranked = torch.where(candidates, rows.clamp(max=largest), -torch.inf)
    ranked = torch.where(always, torch.inf, ranked)
    index = _ranks(ranked)
    taken = torch.arange(index.shape[-1], device=index.device) < amount
    picked = torch.zeros_like(candidates).scatter(-1, index, taken.expand(index.shape))
    return picked & (candidates | always)


def _ties(rows: torch.Tensor, free: torch.Tensor, picked: torch.Tensor) -> torch.Tensor:
    """The candidates whose score is that of the last picked."""
    last = torch.where(picked & free, rows, torch.inf).amin(-1, keepdim=True)
    return free & (rows == last)


def _minmax(rows: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    low = torch.where(counted, rows, torch.inf).amin(-1, keepdim=True)
    high = torch.where(counted, rows, -torch.inf).amax(-1, keepdim=True)
    spread = high - low
    found = (rows - low) / torch.where(spread <= 1e-6, 1.0, spread)
    return torch.where(counted, found, 0.0)


def _mass(
    rows: torch.Tensor, candidates: torch.Tensor, always: torch.Tensor, amount: float
) -> torch.Tensor:
    """The best candidates until, with what is forced, they hold ``amount`` of the whole; at least
    one of them."""
    free = candidates & ~always
    total = torch.where(candidates | always, rows, 0.0).sum(-1, keepdim=True)
    own = torch.where(always, rows, 0.0).sum(-1, keepdim=True)
    safe = total + 1e-6
    needed = (amount - own / safe).clamp(min=0.0)
    index = _ranks(torch.where(free, rows, -torch.inf))
    ordered = torch.where(free, rows, 0.0).gather(-1, index)
    before = (ordered.cumsum(-1) - ordered) / safe
    take = before < needed
    take[..., 0] = True
    return torch.zeros_like(free).scatter(-1, index, take) & free
