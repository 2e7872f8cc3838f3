"""The rules of selections: which of the scored candidates are chosen.

Equal scores: the key that comes first is the better one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

from attnlang.backends.program.order import best_first
from attnlang.backends.program.search import halved

FEW = 8
"""Runs of less than one in so many keys are summed up place by place, others by a product."""
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
    most = int(belongs.sum(-1).max())
    if how == "max" or most * FEW <= belongs.shape[1]:
        total, count = _by_place(scores, allowed, belongs, weight, most, how)
    else:
        count = allowed.to(scores.dtype) @ belongs.to(scores.dtype).T
        total = torch.where(allowed, scores, 0.0) @ torch.where(belongs, weight, 0.0).T
    if how == "mean":
        total = total / count.clamp(min=1)
    return total, count > 0


def _by_place(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    belongs: torch.Tensor,
    weight: torch.Tensor,
    most: int,
    how: str,
) -> Scores:
    """The first key of every run, then the second, and so on to the ``most`` that one has; with how
    many of them are candidates."""
    order = torch.sort(belongs.to(torch.uint8), dim=-1, descending=True, stable=True).indices
    shape = (*scores.shape[:3], len(belongs))
    total = scores.new_full(shape, -torch.inf if how == "max" else 0.0)
    count = allowed.new_zeros(shape, dtype=torch.int32)
    for at in order[:, :most].unbind(1):
        own = at[:, None]
        seen = allowed.index_select(-1, at) & belongs.gather(1, own)[:, 0]
        here = scores.index_select(-1, at) * weight.gather(1, own)[:, 0]
        more = torch.maximum(total, here) if how == "max" else total + here
        total, count = torch.where(seen, more, total), count + seen
    return total, count


def set_scores(
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


@dataclass(frozen=True, slots=True)
class Choices:
    """Tables ``[B, (Hs,) *lengths]`` as rows of choices ``[B, those of per, members of one]``.

    per: the dimensions behind the batch that each choice is made for.
    """

    shape: tuple[int, ...]
    per: tuple[int, ...]

    @property
    def _order(self) -> list[int]:
        among = [i for i in range(1, len(self.shape)) if i - 1 not in self.per]
        return [*(i for i in range(len(self.shape)) if i not in among), *among]

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., members]`` of a table, or of scores ``[B, Hs, Nq, R]``."""
        kept = 1 + len(self.per)
        return x.reshape(self.shape).permute(self._order).flatten(kept)

    def counts(self, x: torch.Tensor, *, largest: bool) -> torch.Tensor:
        """How many each choice of a table has; or, of all of a batch element, the most."""
        found = self.rows(x).sum(-1, keepdim=True)
        return found.amax([*range(1, found.dim())], keepdim=True) if largest else found

    def table(self, rows: torch.Tensor) -> torch.Tensor:
        order = self._order
        x = rows.view([self.shape[i] for i in order])
        return x.permute([order.index(i) for i in range(len(order))])


def pick(
    rows: torch.Tensor,
    candidates: torch.Tensor,
    always: torch.Tensor | None,
    kind: str,
    amount: float | torch.Tensor,
    *,
    search: str,
    ties: bool,
) -> torch.Tensor:
    """The members of every choice, bool like its scores ``[..., members]``.

    always: members whatever their score, counted first. kind: "top", "above" or "mass". amount: how
    many, how much; of each choice, where that is a tensor. search: "all", or by halving runs that
    are asked at their first candidate ("halving") or in the middle ("centres"). ties: does what
    equals the last chosen come along?
    """
    if kind == "top" and search != "all":
        picked = halved(rows, candidates, int(amount), centres=search == "centres")
    elif kind == "top":
        picked = _top(rows, candidates, always, amount)
        if ties:
            free = candidates if always is None else candidates & ~always
            picked = picked | _ties(rows, free, picked)
    elif kind == "above":
        picked = candidates & (rows > amount)
    else:
        forced = torch.zeros_like(candidates) if always is None else always
        picked = _mass(rows, candidates, forced, float(amount))
    return picked if always is None else picked | always


def minmaxed(rows: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    low = torch.where(counted, rows, torch.inf).amin(-1, keepdim=True)
    high = torch.where(counted, rows, -torch.inf).amax(-1, keepdim=True)
    spread = high - low
    found = (rows - low) / torch.where(spread <= 1e-6, 1.0, spread)
    return torch.where(counted, found, 0.0)


def _top(
    rows: torch.Tensor,
    candidates: torch.Tensor,
    always: torch.Tensor | None,
    amount: float | torch.Tensor,
) -> torch.Tensor:
    numbers = torch.finfo(rows.dtype)  # a candidate comes behind what is forced, before all others
    ranked = torch.where(candidates, rows.clamp(numbers.min, numbers.max), -torch.inf)
    seen = candidates
    if always is not None:
        ranked, seen = torch.where(always, torch.inf, ranked), candidates | always
    if isinstance(amount, torch.Tensor):
        index = best_first(ranked)
        taken = torch.arange(index.shape[-1], device=index.device) < amount
        return torch.zeros_like(seen).scatter(-1, index, taken.expand(index.shape)) & seen
    count = min(int(amount), rows.shape[-1])
    if count <= 0:
        return torch.zeros_like(seen)
    best = ranked.topk(min(count + 1, rows.shape[-1]), -1).values
    last = best[..., count - 1 : count]
    tied = (best[..., count:] == last) & ~last.isinf()
    if not ranked.is_cuda and not bool(tied.any()):
        return (ranked >= last) & seen
    better, equal = ranked > last, ranked == last
    left = count - better.sum(-1, keepdim=True)
    return (better | (equal & (equal.cumsum(-1, dtype=torch.int32) <= left))) & seen


def _ties(rows: torch.Tensor, free: torch.Tensor, picked: torch.Tensor) -> torch.Tensor:
    """The candidates whose score is that of the last picked."""
    last = torch.where(picked & free, rows, torch.inf).amin(-1, keepdim=True)
    return free & (rows == last)


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
    index = best_first(torch.where(free, rows, -torch.inf))
    ordered = torch.where(free, rows, 0.0).gather(-1, index)
    before = (ordered.cumsum(-1) - ordered) / safe
    take = before < needed
    take[..., 0] = True
    return torch.zeros_like(free).scatter(-1, index, take) & free
