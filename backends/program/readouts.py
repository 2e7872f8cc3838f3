"""Numbers of an attention or a set, for each query or key; sums over keys alone have a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from attnlang.backends.call import Call, Inputs
from attnlang.backends.linear.form import repeated
from attnlang.backends.listed import Listed
from attnlang.backends.program.vectors import Value
from attnlang.backends.recording import recording
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import Attend, EmptyRule, PatternIR
from attnlang.compiler.ir.program import Attention, Branch, Select, condition_by_head
from attnlang.compiler.ir.vector import Scalar, Space, Tensor, Vector
from attnlang.compiler.problem.problem import Problem

if TYPE_CHECKING:
    from attnlang.backends.program.run import Runner


def column_sum(run: Runner, name: str) -> torch.Tensor:
    """For every key the weights it was given ``[B, Hq, Nk, 1]``: the slope of the summed output by
    values of one feature, whatever the backend."""
    branch = _only_branch(run, name)
    with recording():
        heads, k = run.bound.frame.heads, run.values[branch.keys[0]].x
        ones = k.new_zeros((k.shape[0], heads, k.shape[2], 1)).requires_grad_()
        given = run.values
        run.values = {n: Value(v.x.detach()) for n, v in given.items()}
        out = run.branch(branch, ones).x
        run.values = given
        (found,) = torch.autograd.grad(out.sum(), ones)
    return found


def row_sum(run: Runner, name: str, told: Scalar) -> torch.Tensor:
    """For every query the weights it gave the keys that are told ``[B, Hq, Nq, 1]``: the output of
    values that are 1 there and else 0."""
    branch = _only_branch(run, name)
    (key,) = branch.keys
    k, space = run.values[key].x, replace(run.bound.spaces[key], heads=Side.Q)
    one = run.vectors(space, told).number(told.value)
    one = one.to(k.dtype).expand(k.shape[0], -1, k.shape[2], 1)
    return run.branch(branch, one).x


def count(run: Runner, arguments: Sequence[Vector], space: Space, of_keys: bool) -> torch.Tensor:
    """How many keys each query has in a set or attends, or (of_keys) how many queries attend each
    key: ``[B, Hq or 1, tokens, 1]``. arguments: what is counted, and what its members count."""
    assert isinstance(arguments[0], Tensor)
    name = arguments[0].name
    if name not in run.sets:
        return _attended(run, _only_branch(run, name), of_keys)
    made, by_head = run.sets.made[name], space.heads is Side.Q
    if isinstance(made, Listed) and len(arguments) == 1:
        counts = made.counts() if by_head else made.counts().unsqueeze(1)
        return repeated(counts.flatten(2), run.bound.frame.heads if by_head else 1)[..., None]
    chosen = run.sets[name].long()
    chosen = (chosen if by_head else chosen.unsqueeze(1)).flatten(2 + len(space.axes))
    for weight in arguments[1:]:
        assert isinstance(weight, Scalar)
        chosen = chosen * _of_members(run, name, weight.value)
    found = chosen.sum(-1).flatten(2)
    repeat = run.bound.frame.heads // found.shape[1] if by_head else 1
    return found.repeat_interleave(repeat, 1)[..., None]


def _of_members(run: Runner, name: str, weight: Expr) -> torch.Tensor:
    """What each member of a set counts: one number for each, or one for all."""
    step = next(s for s in run.bound.program.steps if s.name == name)
    assert isinstance(step, Select)
    axes = step.dims[step.by_head + len(run.bound.spaces[step.query].axes) :]
    runs = Space(axes, run.bound.spaces[step.key].side)
    frame, extents = run.bound.frame, run.bound.extents(runs)
    problem = Problem(frame.pattern, 1, 1, frame.head_dim, extents, extents, ())
    found = Pairs(problem, Inputs(), run.sets[name].device).value(run.bound.close(weight))
    return found.flatten()


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
        return first.new_zeros((len(first), heads, tokens, 1)).long()
    q, k, v = (first.new_zeros((len(first), heads, n, 1)).float() for n in lengths)
    inputs = run.inputs_of(pattern, query, keys, 0, heads)
    with recording():
        v.requires_grad_(of_keys)
        out, lse = run.run(Call(problem, q, k, v, inputs, None, True))
        assert lse is not None
        numbers = torch.exp(lse.detach())[..., None].round()
        if not of_keys:
            return numbers.long()
        (found,) = torch.autograd.grad((out * numbers).sum(), v)
    return found.round().long()


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
