"""Selections: scores, the rule, and the set as a table of truth values.

Scores are made in float32 or better. Equal scores: the key that comes first is the better one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch

from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.program.search import halved
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.program import Normalise, Search, Select, Share, SizeOf, Ties
from attnlang.compiler.problem.problem import Problem

Scores: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def candidate_scores(
    problem: Problem,
    q: torch.Tensor,
    k: torch.Tensor,
    inputs: Inputs,
    scale: float | None,
    heads: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores ``[B, heads, Nq, U]`` of all pairs, and which of them are candidates.

    heads: those of ``q`` that are asked for.
    """
    dtype = accumulation_dtype(q.dtype)
    own = heads // (q.shape[1] // k.shape[1])
    raw = q[:, heads].to(dtype) @ k[:, own].to(dtype).mT
    tokens = {n: x[:, heads] if x.shape[1] > 1 else x for n, x in inputs.tokens.items()}
    pairs = Pairs(problem, Inputs(tokens, inputs.tables), q.device)
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


def chosen(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    forced: torch.Tensor | None,
    step: Select,
    amount: float | torch.Tensor,
    lengths: tuple[int, ...],
) -> torch.Tensor:
    """The set, bool ``[B, (Hs,) *lengths]``, of scores ``[B, Hs, Nq, R]``.

    forced: members whatever their score, counted first. amount: how many, how much; or the set that
    says how many. lengths: of the queries' and keys' axes.
    """
    shape = (*scores.shape[: 1 + step.by_head], *lengths)
    among = [i for i in range(1, len(shape)) if i - 1 not in step.rule.per]
    kept = [i for i in range(len(shape)) if i not in among]
    order = [*kept, *among]
    if forced is None:
        forced = torch.zeros_like(allowed)
    rows, candidates, always = (
        x.expand(scores.shape).reshape(shape).permute(order).flatten(len(kept))
        for x in (scores, allowed, forced)
    )
    if step.normalise is Normalise.MINMAX:
        rows = _minmax(rows, candidates | always)
    if isinstance(step.rule.amount, SizeOf):
        assert isinstance(amount, torch.Tensor)
        amount = amount.permute(order).flatten(len(kept)).sum(-1, keepdim=True)
        if step.rule.amount.largest:
            amount = amount.amax([*range(1, amount.dim())], keepdim=True)
    match step.rule.kind:
        case "top" if step.search is Search.HALVING:
            picked = halved(rows, candidates, int(amount))
        case "top":
            picked = _top(rows, candidates, always, amount)
            if step.ties is Ties.ALL:
                picked = picked | _ties(rows, candidates & ~always, picked)
        case "above":
            picked = candidates & (rows > amount)
        case "mass":
            picked = _mass(rows, candidates, always, float(amount))
    picked = (picked | always).view([shape[i] for i in order])
    return picked.permute([order.index(i) for i in range(len(shape))])


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
