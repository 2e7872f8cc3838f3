"""Attention over the pairs of a set: chunk by chunk, rows merged by their running maximum.

A query meets its key blocks in different chunks. Each chunk's weights are made against the largest
score so far, and what was summed before is scaled to it, unless a chunk holds all keys of its rows;
the backward pass makes the weights again from the log-sum-exp. Memory is that of the output and one
batch of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.blocked.places import Places
from attnlang.backends.blocked.set_chunks import Chunks, Gathered, chunks
from attnlang.backends.blocked.sets import SetRead
from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.problem.problem import Problem


def attend_set(call: Call, made: SetRead) -> tuple[torch.Tensor, torch.Tensor]:
    """Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``."""
    own = call.problem.groups[0].attend.scale
    scale = call.scale if call.scale is not None else call.q.shape[-1] ** -0.5
    if own is not None:
        fixed = value_of(own)
        assert fixed is not None
        scale = float(fixed)
    work = _Work(call.problem, made.rest, scale, chunks(call, made))
    out, lse = _SetAttention.apply(work, call.q, call.k, call.v)  # type: ignore[no-untyped-call]
    return out, lse


class _Work:
    """What forward and backward both go through."""

    def __init__(
        self, problem: Problem, rest: Expr, scale: float, lists: list[Chunks] | list[Gathered]
    ) -> None:
        self.problem, self.rest, self.scale, self.lists = problem, rest, scale, lists

    def batches(self, width: int) -> Iterator[Chunks]:
        for x in self.lists:
            yield from x.batches(width)

    def scores(self, x: Chunks, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """``[chunks, R, T]``, -inf where a pair does not attend. q and k: the chunk's rows."""
        s = torch.baddbmm(q.new_empty(()), q, k.mT, beta=0, alpha=self.scale)
        if x.padded:
            s.masked_fill_((x.columns < 0)[:, None], -torch.inf)
        if x.q_tokens is not None and x.k_tokens is not None:
            at = (x.q_tokens.clamp(min=0), x.k_tokens.clamp(min=0))
            places = Places(self.problem, Inputs(), (0,), *at, s.dtype)
            here = torch.as_tensor(places.value(self.rest), device=s.device)
            s.masked_fill_(~here.reshape(here.shape[-3:]), -torch.inf)
        return s


class _SetAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, work: _Work, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = accumulation_dtype(q.dtype)
        rows = q.shape[0] * q.shape[1] * q.shape[2]
        # One row more: padding writes there.
        top = torch.full((rows + 1,), -torch.inf, dtype=dtype, device=q.device)
        total, out = torch.zeros_like(top), top.new_zeros((rows + 1, v.shape[3]))
        flat = [x.flatten(0, 2) for x in (q, k, v)]
        for x in work.batches(max(q.shape[3], v.shape[3])):
            q_rows, k_rows, v_rows = _read(x, flat, dtype)
            s = work.scores(x, q_rows, k_rows)
            at = torch.where(x.rows < 0, rows, x.rows).flatten()
            if x.whole:
                best = s.amax(-1)
                weights = s.sub_(torch.where(best.isinf(), 0.0, best)[..., None]).exp_()
                top[at], total[at] = best.flatten(), weights.sum(-1).flatten()
                out[at] = (weights @ v_rows).flatten(0, 1)
                continue
            # Chunks come head by head, so that few rows of others stand between these.
            span = slice(int(at.min()), int(x.rows.max()) + 1)
            before = top[span].clone()
            top.scatter_reduce_(0, at, s.amax(-1).flatten(), "amax")
            grown = ((top[span] > before) & ~before.isinf()).nonzero()[:, 0]
            if len(grown):
                kept = torch.exp(before[grown] - top[span][grown])
                total[span][grown] *= kept
                out[span][grown] *= kept[:, None]
            base = top[at].view(x.rows.shape)[..., None]
            weights = s.sub_(torch.where(base.isinf(), 0.0, base)).exp_()
            total.index_add_(0, at, weights.sum(-1).flatten())
            out.index_add_(0, at, (weights @ v_rows).flatten(0, 1))
        top, total, out = top[:rows], total[:rows], out[:rows]
        none = total == 0
        safe = torch.where(none, 1.0, total)
        lse = torch.where(none, -torch.inf, top + torch.log(safe)).view(q.shape[:3])
        out = (out / safe[:, None]).view(*q.shape[:3], v.shape[3])
        ctx.work = work
        ctx.save_for_backward(q, k, v, out, lse)
        return out.to(q.dtype), lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        work: _Work = ctx.work
        dtype = out.dtype
        flat = [x.flatten(0, 2) for x in (q, k, v)]
        d_out = d_out.to(dtype)
        # The slope of a score: its weight times how its value differs from the output.
        slack = (d_out * out).sum(-1) - torch.where(lse.isinf(), 0.0, d_lse.to(dtype))
        slack, norm, d_flat = slack.flatten(), lse.flatten(), d_out.flatten(0, 2)
        grads = [torch.zeros(x.shape, dtype=dtype, device=x.device) for x in flat]
        for x in work.batches(max(q.shape[3], v.shape[3])):
            q_rows, k_rows, v_rows = _read(x, flat, dtype)
            at, columns = x.rows.clamp(min=0), x.columns.clamp(min=0)
            s = work.scores(x, q_rows, k_rows)
            weights = torch.exp(s - norm[at][..., None])
            # Padding has rows and keys of its own, which get nothing.
            weights = torch.where((x.rows < 0)[..., None] | s.isinf(), 0.0, weights)
            d_rows = d_flat[at]
            slope = weights * (d_rows @ v_rows.transpose(1, 2) - slack[at][..., None]) * work.scale
            grads[0].index_add_(0, at.flatten(), (slope @ k_rows).flatten(0, 1))
            grads[1].index_add_(0, columns.flatten(), (slope.mT @ q_rows).flatten(0, 1))
            grads[2].index_add_(0, columns.flatten(), (weights.mT @ d_rows).flatten(0, 1))
        shaped = (g.view(x.shape).to(x.dtype) for g, x in zip(grads, (q, k, v), strict=True))
        return (None, *shaped)


def _read(x: Chunks, flat: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries ``[chunks, R, D]``, keys and values ``[chunks, T, ...]``; padding reads row 0."""
    places = (x.rows, x.columns, x.columns)
    return [
        y.index_select(0, at.clamp(min=0).flatten()).view(*at.shape, -1).to(dtype)
        for y, at in zip(flat, places, strict=True)
    ]
