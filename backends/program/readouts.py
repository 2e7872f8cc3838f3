"""Numbers of an attention or a set: for each query or key, without a gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from attnlang.backends.call import Call
from attnlang.backends.program.vectors import Value
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, EmptyRule, PatternIR
from attnlang.compiler.ir.program import Attention, Branch, condition_by_head
from attnlang.compiler.ir.vector import Space

if TYPE_CHECKING:
    from attnlang.backends.program.run import Runner


def column_sum(run: Runner, name: str) -> torch.Tensor:
    """For every key the weights it was given ``[B, Hq, Nk, 1]``: the slope of the summed output by
    values of one feature, whatever the backend."""
    branch = _only_branch(run, name)
    with torch.enable_grad():
        heads, k = run.bound.frame.heads, run.values[branch.keys[0]].x
        ones = k.new_zeros((k.shape[0], heads, k.shape[2], 1)).requires_grad_()
        given = run.values
        run.values = {n: Value(v.x.detach()) for n, v in given.items()}
        run.values[branch.values[0]] = Value(ones)
        out = run.branch(branch).x
        run.values = given
        (found,) = torch.autograd.grad(out.sum(), ones)
    return found


def count(run: Runner, name: str, space: Space, of_keys: bool) -> torch.Tensor:
    """How many keys each query has in a set or attends, or (of_keys) how many queries attend each
    key: ``[B, Hq or 1, tokens, 1]``, whole numbers in float32."""
    if name not in run.sets:
        return _attended(run, _only_branch(run, name), of_keys)
    chosen, by_head = run.sets[name].float(), space.heads is Side.Q
    chosen = chosen if by_head else chosen.unsqueeze(1)
    found = chosen.flatten(2 + len(space.axes)).sum(-1).flatten(2)
    repeat = run.bound.frame.heads // found.shape[1] if by_head else 1
    return found.repeat_interleave(repeat, 1)[..., None]


def _attended(run: Runner, branch: Branch, of_keys: bool) -> torch.Tensor:
    """All scores are 0: the lse is the logarithm of the count, a weight its inverse."""
    (key,) = branch.keys
    heads = run.bound.frame.heads if condition_by_head(branch.pattern) else 1
    query, keys = run.bound.spaces[branch.query], {key: run.bound.spaces[key]}
    pattern = _unscored(branch.pattern)
    problem = run.bound.bound(pattern, query, keys, heads, heads, 1)
    first = run.values[key].x
    lengths = (run.values[x].x.shape[2] for x in (branch.query, key, key))
    if 0 in (*run.bound.lengths(query), *run.bound.lengths(keys[key])):
        tokens = run.values[key if of_keys else branch.query].x.shape[2]
        return first.new_zeros((len(first), heads, tokens, 1))
    q, k, v = (first.new_zeros((len(first), heads, n, 1)).float() for n in lengths)
    inputs = run.inputs_of(pattern, query, keys, 0, heads)
    with torch.enable_grad():
        v.requires_grad_(of_keys)
        out, lse = run.run(Call(problem, q, k, v, inputs, None, True))
        assert lse is not None
        numbers = torch.exp(lse.detach())[..., None].round()
        if not of_keys:
            return numbers
        (found,) = torch.autograd.grad((out * numbers).sum(), v)
    return found.round()


def _unscored(pattern: PatternIR) -> PatternIR:
    """The pattern of the same pairs, without edits of their scores."""
    bare = (Attend(g.attend.where, empty=EmptyRule.ZERO) for g in pattern.groups)
    groups = (replace(g, attend=a) for g, a in zip(pattern.groups, bare, strict=True))
    return replace(pattern, groups=tuple(groups))


def _only_branch(run: Runner, name: str) -> Branch:
    step = next(s for s in run.bound.program.steps if s.name == name)
    assert isinstance(step, Attention)
    (branch,) = step.branches
    assert isinstance(branch, Branch)
    return branch
