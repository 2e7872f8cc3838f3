"""Selections: scores, the rule, and the set as a table of truth values.

Scores are made in float32 or better. Equal scores: the key that comes first is the better one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch

from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.program.search import halved
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.program import (
    Gradient,
    Normalise,
    Search,
    Select,
    Share,
    Ties,
    Weigh,
)
from attnlang.compiler.problem.problem import Problem

Scores: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def candidate_scores(
    problem: Problem,
    q: torch.Tensor,
    k: torch.Tensor,
    inputs: Inputs,
    scale: float | None,
    heads: torch.Tensor,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores ``[B, heads, R, U]`` of pairs, and which of them are candidates.

    heads, rows: the heads and the queries of ``q`` that are asked for.
    """
    dtype = accumulation_dtype(q.dtype)
    own = heads // (q.shape[1] // k.shape[1])
    raw = q[:, heads][:, :, rows].to(dtype) @ k[:, own].to(dtype).mT
    tokens = {n: x[:, heads] if x.shape[1] > 1 else x for n, x in inputs.tokens.items()}
    pairs = Pairs(problem, Inputs(tokens, inputs.tables), q.device, rows)
    pairs.head = heads.view(1, -1, 1, 1)
    attend = problem.groups[0].attend
    allowed = pairs.value(attend.where).expand(raw.shape)
    default = scale if scale is not None else q.shape[-1] ** -0.5
    factor = default if attend.scale is None else pairs.value(attend.scale).to(dtype)
    pairs.score, pairs.whole = raw * factor, allowed
    scores = pairs.score if attend.score is None else pairs.value(attend.score).to(dtype)
    return scores.expand(raw.shape), allowed


def normalised(scores: torch.Tensor, allowed: torch.Tensor, how: Normalise) -> torch.Tensor:
    """Scores of the candidates of each query, as the rule and other heads meet them."""
    if how is Normalise.SOFTMAX:
        shown = torch.where(allowed, scores, -torch.inf)
        top = shown.amax(-1, keepdim=True)
        weight = torch.exp(shown - torch.where(top.isinf(), 0.0, top))
        return weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return scores


def shared(parts: Iterator[Scores], how: Share) -> Scores:
    """The scores of heads that share a set as one, and what is a candidate for all of them.

    parts: of one head of each set after the other, so that they never stand beside each other.
    """
    total, allowed = next(parts)
    count = 1
    for scores, here in parts:
        total = torch.maximum(total, scores) if how is Share.MAX else total + scores
        allowed = allowed & here
        count += 1
    return total / count if how is Share.MEAN else total, allowed


def by_set(x: torch.Tensor, step: Select, kv_heads: int) -> torch.Tensor:
    """``[B, H, ...]`` with the heads that share a set in a dimension of their own."""
    found: torch.Tensor = x.unflatten(1, (set_heads(step, x.shape[1], kv_heads), -1))
    return found


def set_heads(step: Select, heads: int, kv_heads: int) -> int:
    """How many sets there are beside each other, of queries with so many heads."""
    return heads if step.dims[0] == "head" else kv_heads if step.by_head else 1


def weights(problem: Problem, device: torch.device) -> torch.Tensor:
    """What the scores of candidates are multiplied with for each run: ``[1, 1, R, U]``."""
    factor = problem.groups[0].attend.score
    found = torch.ones((), device=device)
    if factor is not None:
        found = Pairs(problem, Inputs(), device).value(factor)
    return found.expand(1, 1, problem.q_len, problem.k_len)


def gathered(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    belongs: torch.Tensor,
    weight: torch.Tensor,
    how: Share,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores ``[B, H, Nq, R]`` of runs, from those of the candidates that belong to them, times
    their weights.

    belongs, weight: ``[R, U]``. Runs of queries come the same way with queries and keys exchanged.
    """
    weight = weight.to(scores.dtype)
    members = allowed.to(scores.dtype) @ belongs.to(scores.dtype).T
    some = members > 0
    if how is Share.MAX:  # one run at a time: the product of runs, queries and keys is too large
        pairs = zip(belongs, weight, strict=True)
        best = [torch.where(allowed & r, scores * w, -torch.inf).amax(-1) for r, w in pairs]
        return torch.stack(best, -1), some
    total = torch.where(allowed, scores, 0.0) @ torch.where(belongs, weight, 0.0).T
    if how is Share.MEAN:
        total = total / members.clamp(min=1)
    return total, some


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

    def table(self, rows: torch.Tensor) -> torch.Tensor:
        order = self._order
        x = rows.view([self.shape[i] for i in order])
        return x.permute([order.index(i) for i in range(len(order))])


def chosen(
    rows: torch.Tensor,
    candidates: torch.Tensor,
    always: torch.Tensor | None,
    step: Select,
    amount: float | torch.Tensor,
) -> torch.Tensor:
    """The members of every choice, bool like its scores ``[..., members]``.

    always: members whatever their score, counted first. amount: how many, how much; of each choice,
    where that is a tensor.
    """
    match step.rule.kind:
        case "top" if step.search is Search.HALVING:
            picked = halved(rows, candidates, int(amount))
        case "top":
            picked = _top(rows, candidates, always, amount)
            if step.ties is Ties.ALL:
                free = candidates if always is None else candidates & ~always
                picked = picked | _ties(rows, free, picked)
        case "above":
            picked = candidates & (rows > amount)
        case "mass":
            forced = torch.zeros_like(candidates) if always is None else always
            picked = _mass(rows, candidates, forced, float(amount))
    return picked if always is None else picked | always


def member_weights(
    rows: torch.Tensor, candidates: torch.Tensor, picked: torch.Tensor, step: Select
) -> torch.Tensor:
    """The weights of the members of every choice, 0 for others, with the slope of the scores.

    A forced member that is no candidate has the score 1. Straight through, the weights are 1 and
    the slopes stay: those of all candidates, unless the weights are of the members among them.
    """
    scores = torch.where(candidates, rows, 1.0)
    match step.weigh:
        case Weigh.NONE:
            weights = scores
        case Weigh.SUM:
            total = torch.where(picked, scores, 0.0).sum(-1, keepdim=True)
            weights = scores / torch.where(total == 0, 1.0, total)
        case Weigh.SOFTMAX:
            shown = torch.where(picked, scores, -torch.inf)
            some = picked.any(-1, keepdim=True)
            weights = torch.where(some, shown, 0.0).softmax(-1)
    if step.gradient is Gradient.STRAIGHT_THROUGH:
        seen = candidates if step.weigh is Weigh.NONE else picked
        slope = torch.where(seen, weights, 0.0)
        return picked.to(weights.dtype) + (slope - slope.detach())
    return torch.where(picked, weights, 0.0)


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """The indices of each row from the largest value down; of equal ones the first comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices


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
        index = _ranks(ranked)
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


def minmax(rows: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
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
