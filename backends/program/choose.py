"""Selections: the scores of candidates, in float32 or better, and the weights of members."""

from __future__ import annotations

import torch

from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.program import Gradient, Select, Weigh
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import Problem


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


def set_heads(step: Select, heads: int, kv_heads: int) -> int:
    """How many sets there are beside each other, of queries with so many heads."""
    return heads if step.dims[0] == "head" else kv_heads if step.by_head else 1


def chosen_spaces(step: Select, query: Space, key: Space) -> tuple[Space, Space]:
    """Where the set's queries and keys lie: runs of those that are scored, or these themselves."""
    own = step.by_head + len(query.axes)
    rows, axes = query, step.dims[own:]
    if step.rows is not None:
        rows = Space(step.dims[step.by_head : own], query.side, False, query.heads)
    return rows, key if axes == key.axes else Space(axes, key.side, False, key.heads)


def weights(problem: Problem, device: torch.device) -> torch.Tensor:
    """What the scores of candidates are multiplied with for each run: ``[1, 1, R, U]``."""
    factor = problem.groups[0].attend.score
    found = torch.ones((), device=device)
    if factor is not None:
        found = Pairs(problem, Inputs(), device).value(factor)
    return found.expand(1, 1, problem.q_len, problem.k_len)


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
