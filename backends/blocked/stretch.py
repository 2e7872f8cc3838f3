"""Stretches of queries that dense kernels take as they are: causal sequences, packed documents.

Where a pattern is nothing else, there is no plan: each stretch is one call of torch's fused
attention, causal or without a mask, on views of q, k and v.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.blocked.edit import scale_of, select
from attnlang.backends.blocked.fused import flash_backward, flash_forward
from attnlang.backends.blocked.schedule import MANY
from attnlang.backends.call import Call, rowed
from attnlang.compiler.analysis.leaves import Known, parameter_tables, settled
from attnlang.compiler.analysis.stretches import Stretch, stretches
from attnlang.compiler.ir.pattern import EmptyRule
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem

Tensor = torch.Tensor
FEWEST = 64
"""Queries of a stretch, on average, from which calls of their own are worth it."""


@dataclass(frozen=True, slots=True)
class Stretched:
    """Heads that attend alike, and their stretches."""

    heads: tuple[int, ...]
    stretches: tuple[Stretch, ...]


_static: weakref.WeakKeyDictionary[Problem, tuple[Stretched, ...] | None] = (
    weakref.WeakKeyDictionary()
)


def stretched_for(problem: Problem, known: Known | None) -> tuple[Stretched, ...] | None:
    """All heads as stretches; None where some are not, or tiles serve them better.

    Without run-time tensors (``known`` None) they are looked for once.
    """
    if known is not None:
        return _stretched(problem, known)
    if problem not in _static:
        _static[problem] = _stretched(problem, Known())
    return _static[problem]


def _stretched(problem: Problem, known: Known) -> tuple[Stretched, ...] | None:
    if len(problem.q) > 1 or len(problem.k) > 1:
        return None
    known = Known(known.tokens, {**known.tables, **parameter_tables(problem)}, known.sorted)
    made = []
    most = 1 + problem.q_len / max(FEWEST, 1)
    silent = all(g.attend.empty is EmptyRule.ZERO for g in problem.groups)
    for where, heads in head_classes(problem):
        found = stretches(settled(where, known), problem.q[0], problem.k[0], known, most)
        if not found or not _worth_it(found):
            return None
        if not silent and sum(_length(s.queries) for s in found) < problem.q_len:
            return None
        made.append(Stretched(heads, found))
    return tuple(made)


def _worth_it(found: tuple[Stretch, ...]) -> bool:
    """But many rectangles of one shape are better one batch of tiles."""
    shapes = Counter((_length(s.queries), _length(s.keys)) for s in found if not s.causal)
    return not shapes or max(shapes.values()) < MANY


def _length(x: slice) -> int:
    length: int = x.stop - x.start
    return length


def attend_stretches(
    call: Call, every: tuple[Stretched, ...]
) -> tuple[list[int], list[Tensor], list[Tensor]]:
    """Heads in some order, and theirs: outputs ``[B, some heads, Nq, D]``, lses ``[B, ., Nq]``."""
    order: list[int] = []
    outs, lses = [], []
    whole = tuple(range(call.problem.heads))
    group = len(whole) // call.problem.kv_heads
    for bound in call.problem.groups:
        for one in every:
            heads = tuple(h for h in one.heads if bound.start <= h < bound.stop)
            if not heads:
                continue
            q, k, v, pack = call.q, call.k, call.v, group
            if heads != whole:
                kv = [h // group for h in heads]
                q, k, v, pack = select(q, list(heads)), select(k, kv), select(v, kv), 1
            out, lse = _run(q, k, v, pack, one.stretches, scale_of(call, bound.attend))
            order.extend(heads)
            outs.append(out)
            lses.append(lse)
    return order, outs, lses


def _run(
    q: Tensor, k: Tensor, v: Tensor, pack: int, found: tuple[Stretch, ...], scale: float
) -> tuple[Tensor, Tensor]:
    """Query heads of one key head stand beside one another, ``[B * Hkv, pack, ...]``."""
    batch = q.shape[0]
    q = q.unflatten(1, (-1, pack)).flatten(0, 1)
    k, v = (x.flatten(0, 1).unsqueeze(1) for x in (k, v))
    given = (rowed(q), rowed(k), rowed(v), found, scale)
    out, lse = _Stretches.apply(*given)  # type: ignore[no-untyped-call]
    return out.unflatten(0, (batch, -1)).flatten(1, 2), lse.unflatten(0, (batch, -1)).flatten(1, 2)


class _Stretches(torch.autograd.Function):
    """q ``[G, pack, Nq, D]``, k ``[G, 1, Nk, D]``, v ``[G, 1, Nk, D]``. The lse carries no
    gradient."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, found: tuple[Stretch, ...], scale: float
    ) -> tuple[Tensor, Tensor]:
        parts = [flash_forward(*_cut(q, k, v, s), None, scale, s.causal) for s in found]
        if len(parts) == 1 and parts[0][0].shape == q.shape:
            out, lse = parts[0]
        else:
            out, lse = torch.zeros_like(q), parts[0][1].new_full(q.shape[:3], -torch.inf)
            for s, part in zip(found, parts, strict=True):
                out[:, :, s.queries], lse[:, :, s.queries] = part
        ctx.found, ctx.scale = found, scale
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad = rowed(grad)
        for s in ctx.found:
            at = s.queries
            found = flash_backward(
                grad[:, :, at], *_cut(q, k, v, s), out[:, :, at], lse[:, :, at], None, ctx.scale,
                s.causal,
            )  # fmt: skip
            dq[:, :, at] = found[0]
            dk[:, :, s.keys] += found[1].sum(1, keepdim=True)
            dv[:, :, s.keys] += found[2].sum(1, keepdim=True)
        return dq, dk, dv, None, None


def _cut(q: Tensor, k: Tensor, v: Tensor, s: Stretch) -> tuple[Tensor, Tensor, Tensor]:
    pack = q.shape[1]
    k, v = (x[:, :, s.keys].expand(-1, pack, -1, -1) for x in (k, v))
    return q[:, :, s.queries], k, v
