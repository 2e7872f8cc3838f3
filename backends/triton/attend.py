"""Attention by generated Triton kernels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from attnlang.backends.blocked.attend import element, known_of, reads_runtime
from attnlang.backends.blocked.places import Places
from attnlang.backends.call import Call
from attnlang.backends.triton import tables as made
from attnlang.backends.triton.launch import Launch, finite
from attnlang.backends.triton.module import write
from attnlang.backends.triton.tables import Tables
from attnlang.backends.triton.writer import Form
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.intervals import Intervals, Range
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import kind_of, walk
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.bind import PYTHON, leaf_ranges
from attnlang.compiler.problem.problem import BoundGroup, Problem

NAME = "triton"
LARGEST_INT32 = 2**31 - 1


def attend(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``.

    Raises Unsupported for tensors on the CPU (unless Triton interprets), float64, and gradients
    of tables and inputs.
    """
    _check(call)
    if not reads_runtime(call):
        return _run(call, made.kept(call.problem, call.q.device))
    parts = []
    several = call.inputs.batch > 1
    for b in range(call.q.shape[0] if several else 1):
        one = element(call, b) if several else call
        plan = make(call.problem, known=known_of(one.inputs, call.problem))
        parts.append(_run(one, made.build(plan, call.q.device)))
    return torch.cat([o for o, _ in parts]), torch.cat([x for _, x in parts])


def _check(call: Call) -> None:
    if call.q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise Unsupported("tensors on the CPU", NAME, "backend='blocked'")
    if call.q.dtype is torch.float64:
        raise Unsupported("float64 tensors", NAME, "backend='reference'")
    if not torch.is_grad_enabled():
        return
    learned = {n for n, x in call.inputs.tables.items() if x.requires_grad}
    learned |= {n for (n, _), x in call.inputs.tokens.items() if x.requires_grad}
    for group in call.problem.groups:
        parts = (group.attend.score, group.attend.scale)
        for x in (x for part in parts if part is not None for x in walk(part)):
            if isinstance(x, e.Table | e.TokenInput) and x.name in learned:
                raise Unsupported(f"the gradient of `{x.name}`", NAME, "backend='blocked'")


def _run(call: Call, tables: Tables) -> tuple[torch.Tensor, torch.Tensor]:
    launches, sinks = [], []
    given = {*call.inputs.tables, *(name for name, _ in call.inputs.tokens)}
    absent = frozenset(i.name for i in call.problem.pattern.inputs if i.name not in given)
    for group in call.problem.groups:
        sink, scale = _sink(call, group), _scale(call, group)
        form = form_of(call.problem, group, frozenset(tables.tokens), absent)
        kernels = write(call.problem.pattern, group.index, form)
        count = group.stop - group.start
        launches.append(
            Launch(call, tables, kernels, group.start, count, 1.0 if scale is None else scale)
        )
        sinks.append(sink)
    out, lse = _Attention.apply(launches, call.q, call.k, call.v, *sinks)  # type: ignore[no-untyped-call]
    return out, lse


def form_of(
    problem: Problem, group: BoundGroup, gathered: frozenset[Side], absent: frozenset[str]
) -> Form:
    """What the text of a group's kernels depends on. absent: optional inputs not given."""
    own = group.attend.scale is not None and value_of(group.attend.scale) is None
    return Form(gathered, _wide(problem, group), group.attend.sink is not None, absent, own)


class _Attention(torch.autograd.Function):
    """All launches of one call. Sinks are ``[B, H, Nq]`` tensors, or None."""

    @staticmethod
    def forward(
        ctx: Any, launches: Sequence[Launch], q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
        *sinks: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        out = q.new_empty((*q.shape[:3], v.shape[3]))
        lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
        for launch, sink in zip(launches, sinks, strict=True):
            launch.forward(out, lse, None if sink is None else sink.contiguous())
        ctx.launches = launches
        ctx.save_for_backward(q, k, v, out, lse, *sinks)
        return out, lse

    @staticmethod
    def backward(ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, out, lse, *sinks = ctx.saved_tensors
        d_lse = torch.where(lse.isinf(), 0.0, d_lse)
        delta = (out.float() * d_out.float()).sum(-1) - d_lse
        d_out = d_out.contiguous()
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        norm = finite(lse)
        for launch in ctx.launches:
            alone = len(ctx.launches) == 1
            parts = (d_k, d_v) if alone else (torch.zeros_like(k), torch.zeros_like(v))
            launch.backward(d_out, norm, delta, d_q, *parts)
            if not alone:
                d_k += parts[0]
                d_v += parts[1]
        d_sinks: list[torch.Tensor | None] = []
        for launch, sink in zip(ctx.launches, sinks, strict=True):
            if sink is None:
                d_sinks.append(None)
                continue
            heads = torch.arange(q.shape[1], device=q.device)
            mine = (heads >= launch.first) & (heads < launch.first + launch.count)
            weight = torch.exp(sink - norm) * mine[:, None]
            d_sinks.append(-weight * delta)
        return (None, d_q, d_k, d_v, *d_sinks)


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


def _wide(problem: Problem, group: BoundGroup) -> bool:
    """Does an integer that no input decides need more than 32 bits?"""
    found = False

    def watch(x: e.Expr, within: Range) -> None:
        nonlocal found
        if kind_of(x) is Kind.INT and not any(
            isinstance(n, e.TokenInput | e.Table) for n in walk(x)
        ):
            found = found or max(abs(within[0]), abs(within[1])) > LARGEST_INT32

    ranges = leaf_ranges(problem.pattern, problem.q, problem.k, problem.heads, problem.kv_heads)
    intervals = Intervals(PYTHON, ranges, watch)
    for x in (group.attend.where, group.attend.score, group.attend.scale):
        if x is not None:
            intervals.of(x)
    return found
