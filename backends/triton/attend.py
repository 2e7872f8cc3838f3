"""Attention by generated Triton kernels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from attnlang.backends.blocked.attend import element, known_of, reads_runtime
from attnlang.backends.blocked.edit import fill_empty
from attnlang.backends.blocked.places import Places
from attnlang.backends.branches import by_branches
from attnlang.backends.call import Call, rowed
from attnlang.backends.triton import tables as made
from attnlang.backends.triton.descriptors import aligned, describable, has_grid, machine_describes
from attnlang.backends.triton.form import Form, Tiles
from attnlang.backends.triton.gradients import Key, entries, given, key_of
from attnlang.backends.triton.launch import Launch, finite
from attnlang.backends.triton.lists import prepared
from attnlang.backends.triton.module import write
from attnlang.backends.triton.tables import Tables
from attnlang.backends.triton.together import stand_together, stands_apart
from attnlang.backends.triton.told import told
from attnlang.backends.triton.weights import is_softmax
from attnlang.backends.triton.widths import closed_sides, largest
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import EmptyRule
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.heads import stretches
from attnlang.compiler.problem.problem import BoundGroup, Problem

NAME = "triton"
LARGEST_INT32 = 2**31 - 1


def attend(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``.

    Raises Unsupported for tensors on the CPU (unless Triton interprets) and for float64.
    """
    _check(call)
    call = replace(call, q=rowed(call.q), k=rowed(call.k), v=rowed(call.v))
    branched = by_branches(call, attend)
    if branched is not None:
        return branched
    if not _needs_plan(call):
        return _run(call.dense(), (None,))
    if not reads_runtime(call):
        return _run(call.dense(), made.kept(call.problem, call.q.device))
    parts = []
    several = call.inputs.batch > 1
    chosen = prepared(call)
    name = None if chosen is None else chosen.made.table
    call = call.dense(but=name)
    tables = told(call) if chosen is None else None
    for b in range(call.q.shape[0] if several else 1):
        one = element(call, b) if several else call
        if chosen is not None:
            parts.append(_run(one, (made.of_set(one, chosen),), name))
        elif tables is None:
            plan = make(call.problem, known=known_of(one.inputs, call.problem))
            parts.append(_run(one, made.tables_of_parts(plan, call.q.device)))
        else:
            parts.append(_run(one, (tables[b],)))
    return torch.cat([o for o, _ in parts]), torch.cat([x for _, x in parts])


def _check(call: Call) -> None:
    if call.q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise Unsupported("tensors on the CPU", NAME, "backend='blocked'")
    if call.q.dtype is torch.float64:
        raise Unsupported("float64 tensors", NAME, "backend='reference'")


def _needs_plan(call: Call) -> bool:
    """Is there a walk that this call's kernels do not work out by themselves?"""
    tensors = (call.q, call.k, call.v, *call.inputs.tables.values(), *call.inputs.tokens.values())
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    sides = set(Side) if trained else {Side.Q}
    return any(not sides <= closed_sides(call.problem, g) for g in call.problem.groups)


def _run(
    call: Call, tables: Sequence[Tables | None], listed: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """tables: for the heads of each layout; None where kernels work their walks out. listed: the
    set whose lists they are."""
    launches, sinks = [], []
    there = {*call.inputs.tables, *(name for name, _ in call.inputs.tokens)}
    learned = _learned(call)
    absent = frozenset(i.name for i in call.problem.pattern.inputs if i.name not in there)
    described = machine_describes(call.q.device, call.q.dtype)
    described = described and describable(call.q, call.k, call.v)
    far = _far(call)
    for group in call.problem.groups:
        sink, scale = _sink(call, group), _scale(call, group)
        for own in tables:
            mine = range(group.start, group.stop)
            heads = stretches(h for h in mine if own is None or h in own.heads)
            if not heads:
                continue
            tiles = Tiles() if own is None else own.tiles(listed)
            solid = own.solid if own is not None and described else frozenset()
            form = form_of(
                call.problem, group, tiles, absent, learned, described=described,
                carved=frozenset(side for side in solid if carves(call, side)), far=far,
            )  # fmt: skip
            kernels = write(call.problem.pattern, group.index, form)
            factor = 1.0 if scale is None else scale
            launches += [Launch(call, own, kernels, group, x, factor) for x in heads]
            sinks += [sink] * len(heads)
    leaves = [x for one in launches for x in one.kernels.leaves]
    tables_of_pairs = [x.by_entry for x in leaves if x.by_entry is not None]
    if any(entries(call, x) > LARGEST_INT32 for x in tables_of_pairs):
        feature = "gradients of a table with 2**31 entries a head"
        raise Unsupported(feature, NAME, "backend='blocked'")
    keys = tuple(dict.fromkeys(key_of(x) for x in leaves))
    extras = (*sinks, *(given(call, key) for key in keys))
    out, lse, met = _Attention.apply(launches, keys, call.q, call.k, call.v, *extras)  # type: ignore[no-untyped-call]
    for group in call.problem.groups:
        if group.attend.empty is not EmptyRule.ZERO:
            out, lse = _filled(call, group, out, lse, met == 0)
    return out, lse


def carves(call: Call, side: Side) -> bool:
    """Can boxes of a side's grid be read by descriptors?"""
    axes = len(call.problem.pattern.axes(side))
    return all(has_grid(x, axes) for x in ((call.q,) if side is Side.Q else (call.k, call.v)))


def _filled(
    call: Call, group: BoundGroup, out: torch.Tensor, lse: torch.Tensor, empty: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rule for rows without keys, where a group's heads have such rows."""
    heads = slice(group.start, group.stop)
    mine = empty[:, heads]
    at = mine.any(1).any(0).nonzero()[:, 0]
    if not len(at):
        return out, lse
    numbers = tuple(range(group.start, group.stop))
    new, norm = fill_empty(call, group.attend, numbers, at, out[:, heads], lse[:, heads])
    assert norm is not None
    parts = ((out, torch.where(mine[..., None], new, out[:, heads])),
             (lse, torch.where(mine, norm, lse[:, heads])))  # fmt: skip
    made = (torch.cat([x[:, : group.start], y, x[:, group.stop :]], 1) for x, y in parts)
    return next(made), next(made)


def _learned(call: Call) -> frozenset[str]:
    """Inputs that gradients are asked of."""
    if not torch.is_grad_enabled():
        return frozenset()
    names = {n for n, x in call.inputs.tables.items() if x.requires_grad}
    return frozenset(names | {n for (n, _), x in call.inputs.tokens.items() if x.requires_grad})


def form_of(
    problem: Problem, group: BoundGroup, tiles: Tiles, absent: frozenset[str],
    learned: frozenset[str] = frozenset(), *, described: bool = False,
    carved: frozenset[Side] = frozenset(), together: bool | None = None, far: bool = False,
) -> Form:  # fmt: skip
    """What the text of a group's kernels depends on. absent: optional inputs not given. learned:
    those that gradients are asked of. described: are tiles read by descriptors where they can be?
    together: do heads that share keys stand together in walks that are worked out? None: where
    that pays. far: do entries of an input lie too far from its first for 32 bits?"""
    own = group.attend.scale is not None and value_of(group.attend.scale) is None
    sink = group.attend.sink is not None
    marks = group.attend.empty is not EmptyRule.ZERO
    wide = far or largest(problem, group) > LARGEST_INT32
    closed = closed_sides(problem, group)
    if together is None:
        together = stand_together(problem, group)
    return Form(
        tiles,
        wide,
        sink,
        absent,
        own,
        learned,
        marks,
        closed,
        stands_apart(problem, group),
        described,
        carved,
        together,
    )


def _far(call: Call) -> bool:
    """Has an input, of one batch element, an entry too far from its first for 32 bits?"""
    every = (*call.inputs.tables.values(), *call.inputs.tokens.values())
    ends = (
        sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True)) for x in every
    )
    return any(end > LARGEST_INT32 for end in ends)


class _Attention(torch.autograd.Function):
    """All launches of one call.

    extras: a sink ``[B, H, Nq]`` or None for each launch, then the learned tensors of ``keys``.
    """

    @staticmethod
    def forward(
        ctx: Any, launches: Sequence[Launch], keys: Sequence[Key], q: torch.Tensor,
        k: torch.Tensor, v: torch.Tensor, *extras: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        sinks = extras[: len(launches)]
        out = q.new_empty((*q.shape[:3], v.shape[3]))
        norm = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
        met = torch.ones(q.shape[:3], dtype=torch.int8, device=q.device)
        ctx.mark_non_differentiable(met)
        ctx.tops = [
            launch.forward(out, norm, met, None if sink is None else sink.contiguous())
            for launch, sink in zip(launches, sinks, strict=True)
        ]
        ctx.launches, ctx.keys = launches, keys
        ctx.save_for_backward(q, k, v, out, norm, *sinks)
        return out, _softmax_alone(launches, norm), met

    @staticmethod
    def backward(
        ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor, _: torch.Tensor
    ) -> tuple[Any, ...]:
        q, k, v, out, norm, *sinks = ctx.saved_tensors
        d_lse = torch.where(norm.isinf(), 0.0, _softmax_alone(ctx.launches, d_lse))
        delta = (out.float() * d_out.float()).sum(-1) - d_lse
        d_out = aligned(d_out.contiguous())
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        learned: dict[Key, Any] = {}
        for launch, tops in zip(ctx.launches, ctx.tops, strict=True):
            alone = len(ctx.launches) == 1
            parts = (d_k, d_v) if alone else (torch.zeros_like(k), torch.zeros_like(v))
            for key, x in launch.backward(d_out, norm, delta, tops, d_q, *parts).items():
                learned[key] = learned.get(key, 0.0) + x
            if not alone:
                d_k += parts[0]
                d_v += parts[1]
        d_sinks: list[torch.Tensor | None] = []
        for launch, sink in zip(ctx.launches, sinks, strict=True):
            if sink is None:
                d_sinks.append(None)
                continue
            heads = torch.arange(q.shape[1], device=q.device)
            mine = (heads >= launch.heads.start) & (heads < launch.heads.stop)
            weight = torch.exp(sink - finite(norm)) * mine[:, None]
            d_sinks.append(-weight * delta)
        d_learned = (learned[key].to(given(ctx.launches[0].call, key).dtype) for key in ctx.keys)
        return (None, None, d_q, d_k, d_v, *d_sinks, *d_learned)


def _softmax_alone(launches: Sequence[Launch], rows: torch.Tensor) -> torch.Tensor:
    """The rows ``[B, H, Nq]`` of heads that have an lse, 0 for others."""
    for one in launches:
        if not is_softmax(one.bound.attend):
            heads = torch.arange(one.heads.start, one.heads.stop, device=rows.device)
            rows = rows.index_fill(1, heads, 0.0)
    return rows


def _sink(call: Call, group: BoundGroup) -> torch.Tensor | None:
    """The logit without a value of every row ``[B, H, Nq]``."""
    if group.attend.sink is None:
        return None
    at = torch.arange(call.q.shape[2], device=call.q.device)[None]
    heads = tuple(range(call.problem.heads))
    places = Places(call.problem, call.inputs, heads, at, at[:, :1], torch.float32)
    value = torch.as_tensor(places.value(group.attend.sink), dtype=torch.float32, device=at.device)
    batch, count, rows, _ = call.q.shape
    return value.expand(batch, count, 1, rows, 1)[:, :, 0, :, 0]


def _scale(call: Call, group: BoundGroup) -> float | None:
    """The factor of q.k; None when it varies within the call."""
    if group.attend.scale is not None:
        value = value_of(group.attend.scale)
        return None if value is None else float(value)
    return call.scale if call.scale is not None else float(call.q.shape[-1] ** -0.5)
