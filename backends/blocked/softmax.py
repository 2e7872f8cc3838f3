"""Attention of one batch of tiles with its scores written out, edited and normalised.

Works in chunks of bounded memory; the backward pass recomputes each chunk instead of keeping it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.compiler.ir.pattern import Normaliser

CHUNK_BYTES = 64 << 20
"""Score memory of one chunk."""


@dataclass(frozen=True, slots=True)
class Edits:
    """How one batch's scores become weights.

    score(raw, rows): edited scores ``[B, H, rows, M, N]`` from the scaled ones; None: unedited.
    sink(rows): ``[B, H, rows, M]`` (or broadcastable) logits of the denominator alone; None: none.
    scale: factor of q.k, a number or a function of nothing. normaliser: how they become weights.
    gain(rows): what multiplies the weights at last.
    """

    scale: Callable[[], Any]
    score: Callable[[torch.Tensor, slice], torch.Tensor] | None
    sink: Callable[[slice], torch.Tensor] | None
    normaliser: Normaliser = Normaliser.SOFTMAX
    gain: Callable[[slice], torch.Tensor] | None = None


def weigh(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    edits: Edits,
    rows: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One chunk: output ``[B, H, R, M, Dv]`` and lse ``[B, H, R, M]``, as accumulated."""
    dtype = torch.float32 if q.dtype in (torch.float16, torch.bfloat16) else q.dtype
    s = (q.to(dtype) @ k.to(dtype).transpose(-1, -2)) * edits.scale()
    if edits.score is not None:
        s = edits.score(s, rows).to(dtype).expand(s.shape)
    gain = None if edits.gain is None else edits.gain(rows).to(dtype)
    if edits.normaliser is not Normaliser.SOFTMAX:
        return _direct(s, v, mask, edits.normaliser, gain)
    if mask is not None:
        s = torch.where(mask, s, -torch.inf)
    top = s.amax(-1)
    sink = None
    if edits.sink is not None:
        sink = edits.sink(rows).to(dtype).expand(top.shape)
        top = torch.maximum(top, sink)
    top = torch.where(top.isinf(), 0.0, top).detach()
    weights = torch.exp(s - top[..., None])
    total = weights.sum(-1)
    if sink is not None:
        total = total + torch.exp(sink - top)
    empty = total == 0
    safe = torch.where(empty, 1.0, total)
    weights = weights if gain is None else weights * gain
    out = (weights @ v.to(dtype)) / safe[..., None]
    return out, torch.where(empty, -torch.inf, top + torch.log(safe))


def _direct(
    s: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    how: Normaliser,
    gain: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that are weights themselves; there is no lse, and 0 stands in its place."""
    if mask is not None:
        s = torch.where(mask, s, 0.0)
    out = (s if gain is None else s * gain) @ v.to(s.dtype)
    if how is not Normaliser.NONE:
        every = torch.ones((), dtype=torch.bool, device=s.device) if mask is None else mask
        total = s if how is Normaliser.SUM else every.expand(s.shape).to(s.dtype)
        divisor = total.sum(-1)[..., None]
        none = divisor == 0
        out = torch.where(none, 0.0, out / torch.where(none, 1.0, divisor))
    return out, s.sum(-1) * 0.0


class _Edited(torch.autograd.Function):
    """Chunked :func:`weigh` whose backward recomputes. ``extras`` are tensors edits may read."""

    @staticmethod
    def forward(
        ctx: Any, spec: _Spec, q: Any, k: Any, v: Any, *extras: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.spec = spec
        ctx.save_for_backward(q, k, v, *extras)
        outs, lses = [], []
        for rows in spec.chunks(q, k):
            out, lse = spec.run(q, k, v, rows, extras)
            outs.append(out)
            lses.append(lse)
        return torch.cat(outs, 2), torch.cat(lses, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor) -> tuple[Any, ...]:
        spec: _Spec = ctx.spec
        saved = ctx.saved_tensors
        wanted = [i for i, need in enumerate(ctx.needs_input_grad[1:]) if need]
        grads: list[torch.Tensor | None] = [None] * len(saved)
        tiles: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
        for rows in spec.chunks(saved[0], saved[1]):
            leaves = []
            for i, x in enumerate(saved):
                part = x[:, :, rows] if i < 3 else x
                leaves.append(part.detach().requires_grad_(i in wanted))
            with torch.enable_grad():
                q, k, v, *extras = leaves
                out, lse = spec.run(q, k, v, rows, tuple(extras), sliced=True)
            asked = [leaves[i] for i in wanted]
            # An lse of -inf has no slope, and its row no weights: its gradient is dropped.
            dl = torch.where(lse.isinf(), 0.0, d_lse[:, :, rows])
            slopes = ((out, d_out[:, :, rows]), (lse, dl))
            moved = [(y, d) for y, d in slopes if y.requires_grad]  # v does not move the lse
            found = torch.autograd.grad(
                [y for y, _ in moved], asked, [d for _, d in moved], allow_unused=True
            )
            for i, g in zip(wanted, found, strict=True):
                if g is None:
                    continue
                before = grads[i]
                if i < 3:
                    tiles[i].append(g)
                else:
                    grads[i] = g if before is None else before + g
        for i in wanted:
            if i < 3 and tiles[i]:
                grads[i] = torch.cat(tiles[i], 2)
        return None, *grads


@dataclass(frozen=True, slots=True)
class _Spec:
    mask: torch.Tensor | None
    edits: Callable[[tuple[torch.Tensor, ...]], Edits]

    def chunks(self, q: torch.Tensor, k: torch.Tensor) -> list[slice]:
        per_row = q.shape[0] * q.shape[1] * q.shape[3] * k.shape[3] * 4
        step = max(1, CHUNK_BYTES // max(per_row, 1))
        return [slice(i, min(i + step, q.shape[2])) for i in range(0, q.shape[2], step)]

    def run(
        self,
        q: Any,
        k: Any,
        v: Any,
        rows: slice,
        extras: tuple[torch.Tensor, ...],
        sliced: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not sliced:
            q, k, v = q[:, :, rows], k[:, :, rows], v[:, :, rows]
        mask = self.mask
        if mask is not None and mask.shape[0] > 1:
            mask = mask[rows]
        return weigh(q, k, v, mask, self.edits(extras), rows)


def edited(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    edits: Callable[[tuple[torch.Tensor, ...]], Edits],
    extras: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chunked attention with edits; ``extras`` are the run-time tensors the edits read."""
    out, lse = _Edited.apply(_Spec(mask, edits), q, k, v, *extras)  # type: ignore[no-untyped-call]
    return out, lse
