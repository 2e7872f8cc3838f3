"""Filling a set: scores of its candidates, of the runs they belong to, and the choice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import accumulation_dtype
from attnlang.backends.program.choose import (
    Scores,
    by_set,
    candidate_scores,
    chosen,
    gathered,
    normalised,
    set_heads,
    shared,
    weights,
)
from attnlang.backends.reference.attend import mask
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import Gather, Select, SizeOf
from attnlang.compiler.ir.vector import ONE, Space, lone

if TYPE_CHECKING:
    from attnlang.backends.program.run import Runner

"""Scores ``[B, heads of the set, queries, keys]`` and which of them are candidates."""


def fill(step: Select, run: Runner) -> torch.Tensor:
    """The set as a table: ``[B, (heads,) queries' axes..., keys' axes...]``."""
    bound = run.bound
    query, key = bound.spaces[step.query], bound.spaces[step.key]
    q = run.values[step.query].x
    rows, runs = _chosen_spaces(step, query, key)
    if rows is not query and any(e.origin[0] for e in bound.extents(query) if e.segment.is_grid):
        raise ArgumentError(f"`{step.name}` gathers queries: it needs all of them, not q_offset")
    lengths = (*bound.lengths(rows), *bound.lengths(runs))
    one = 1 + step.dims.index(ONE) if ONE in step.dims else None
    if 0 in lengths:
        none = (1,) * (1 + step.by_head)
        found = torch.zeros((*none, *lengths), dtype=torch.bool, device=q.device)
        return found if one is None else found.squeeze(one)
    scores, allowed = _runs(step, run, rows, runs)
    forced = None
    if step.force is not None:
        always = _pairs(run, step.force, rows, runs, q.shape[1])
        forced = by_set(always, step, bound.frame.kv_heads).any(2)
    amount: float | torch.Tensor
    if isinstance(step.rule.amount, SizeOf):
        amount = run.sets[step.rule.amount.name]
        amount = amount if one is None else amount.unsqueeze(one)
    else:
        amount = float(bound.number(step.rule.amount))
    found = chosen(scores, allowed, forced, step, amount, lengths)
    return found if one is None else found.squeeze(one)


def _chosen_spaces(step: Select, query: Space, key: Space) -> tuple[Space, Space]:
    """Where the set's queries and keys lie: runs of those that are scored, or these themselves."""
    own = step.by_head + len(query.axes)
    rows, axes = query, step.dims[own:]
    if step.rows is not None:
        rows = Space(step.dims[step.by_head : own], query.side, False, query.heads)
    return rows, key if axes == key.axes else Space(axes, key.side, False, key.heads)


def _runs(step: Select, run: Runner, rows: Space, runs: Space) -> Scores:
    bound = run.bound
    query, key = bound.spaces[step.query], bound.spaces[step.key]
    if 0 in (*bound.lengths(key), *bound.lengths(query)):
        # Nothing to score: what is forced is chosen all the same.
        q = run.values[step.query].x
        groups = set_heads(step, q.shape[1], bound.frame.kv_heads)
        pairs = (math.prod(bound.lengths(x)) for x in (rows, runs))
        allowed = q.new_zeros((q.shape[0], groups, *pairs), dtype=torch.bool)
        return allowed.to(accumulation_dtype(q.dtype)), allowed
    scores, allowed = _scored(step, run, query, key)
    if step.gather is not None:
        belongs, weight = _belonging(run, step.gather, runs, key)
        scores, allowed = gathered(scores, allowed, belongs, weight, step.gather.rule)
    if step.rows is not None:
        belongs, weight = (x.T for x in _belonging(run, step.rows, query, rows))
        turned = gathered(scores.mT, allowed.mT, belongs, weight, step.rows.rule)
        scores, allowed = (x.mT for x in turned)
    return scores, allowed


def _scored(step: Select, run: Runner, query: Space, key: Space) -> Scores:
    """``[B, heads of the set, queries, keys]``."""
    q, k = run.values[step.query].x, run.values[step.key].x
    if step.key == lone(Side.K)[0]:  # as wide as what is chosen from
        k = k.new_zeros((*k.shape[:3], q.shape[3]))
    elif step.query == lone(Side.Q)[0]:
        q = q.new_zeros((*q.shape[:3], k.shape[3]))
    heads, kv_heads = q.shape[1], k.shape[1]
    problem = run.bound.bound(step.pattern, query, {"keys": key}, heads, kv_heads, q.shape[3])
    inputs = run.inputs_of(step.pattern, query, {"keys": key}, 0, heads)
    share = heads // set_heads(step, heads, run.bound.frame.kv_heads)

    def members() -> Iterator[Scores]:
        for member in range(share):
            some = torch.arange(member, heads, share, device=q.device)
            made = candidate_scores(problem, q, k, inputs, run.scale, some)
            scores, allowed = (_on_axes(run, x, query, key) for x in made)
            yield normalised(scores, allowed, step.normalise), allowed

    return shared(members(), step.share)


def _belonging(
    run: Runner, gather: Gather, query: Space, key: Space
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which keys belong to which queries, and with what weight ``[queries, keys]``."""
    problem = run.bound.bound(gather.pattern, query, {"keys": key}, 1, 1, 1)
    belongs = _pairs(run, gather.pattern, query, key, 1)
    weight = _on_axes(run, weights(problem, belongs.device), query, key)
    return belongs[0, 0], weight[0, 0]


def _pairs(run: Runner, pattern: PatternIR, query: Space, key: Space, heads: int) -> torch.Tensor:
    """Where a condition holds: bool ``[B or 1, heads, queries, keys]``."""
    problem = run.bound.bound(pattern, query, {"keys": key}, heads, heads, 1)
    inputs = run.inputs_of(pattern, query, {"keys": key}, 0, heads)
    return _on_axes(run, mask(problem, inputs, run.values["q"].x.device), query, key)


def _on_axes(run: Runner, x: torch.Tensor, query: Space, key: Space) -> torch.Tensor:
    """``[B, H, queries, keys]`` without the tokens of prefixes and suffixes."""
    q, k = (next(e for e in run.bound.extents(s) if e.segment.is_grid) for s in (query, key))
    return x[:, :, q.start : q.stop, k.start : k.stop]
