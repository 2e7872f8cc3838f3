"""Batches of tiles through torch's fused attention, forward and backward by hand.

One autograd node for all batches of a group of heads: gradients of overlapping key windows are
added where they belong, instead of through full-size zero tensors for every slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from attnlang.backends.blocked.program import Step
from attnlang.backends.blocked.schedule import View
from attnlang.backends.call import accumulation_dtype, rowed

Tensor = torch.Tensor
PART_BYTES = 8 << 20
"""Memory of the gathered keys, or of key gradients, of one part of a batch on a processor: fresh
memory is slow, and these fit its cache."""
LARGE_PART_BYTES = 1 << 29
"""The same on other devices."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What every batch shares.

    size: slots of a key tile. pack: query heads per key head. need_lse: is the lse asked for?
    """

    steps: tuple[Step, ...]
    size: int
    pack: int
    scale: float
    need_lse: bool


def fused(q: Tensor, k: Tensor, v: Tensor, batches: Batches) -> tuple[Tensor, Tensor]:
    """q ``[G, tiles, M, D]``, k ``[G, slots, D]``, v ``[G, slots, Dv]`` for G = batch * heads.

    Returns outputs ``[G, rows of all batches, M, Dv]`` in batch order and their lse
    ``[G, rows, M]``, which carries no gradient.
    """
    out, lse = _Fused.apply(rowed(q), rowed(k), rowed(v), batches)  # type: ignore[no-untyped-call]
    return out, lse


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, batches: Batches
    ) -> tuple[Tensor, Tensor]:
        outs, lses = [], []
        for step in batches.steps:
            in_place = isinstance(step.batch, View)
            for part in [step] if in_place else _parts(step, k, batches.size):
                out, lse = _forward(
                    _rows(q, part),
                    *_keys(k, v, part, batches.size),
                    _bias(part, q, batches.pack),
                    batches,
                )
                outs.append(out)
                lses.append(lse)
        whole = outs[0] if len(outs) == 1 else torch.cat(outs, 1)
        lse = lses[0] if len(lses) == 1 else torch.cat(lses, 1)
        ctx.batches = batches
        ctx.save_for_backward(q, k, v, whole, lse)
        ctx.mark_non_differentiable(lse)
        return whole, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        batches: Batches = ctx.batches
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad, at = rowed(grad), 0
        for step in batches.steps:
            for part in _parts(step, k, batches.size):
                rows = slice(at, at + len(part.batch.rows))
                at = rows.stop
                found = _backward(
                    grad[:, rows], _rows(q, part), *_keys(k, v, part, batches.size),
                    out[:, rows], lse[:, rows], _bias(part, q, batches.pack), batches.scale,
                )  # fmt: skip
                _put_rows(dq, found[0], part)
                _add_keys(dk, found[1], part, batches.size)
                _add_keys(dv, found[2], part, batches.size)
        return dq, dk, dv, None


def _parts(step: Step, k: Tensor, size: int) -> list[Step]:
    """A batch cut so that its key tiles, or their gradients, take little memory."""
    most = PART_BYTES if k.device.type == "cpu" else LARGE_PART_BYTES
    per_row = k.shape[0] * step.batch.width * size * k.shape[2] * k.element_size()
    count = max(1, most // per_row)
    return [step.part(i, count) for i in range(0, len(step.batch.rows), count)]


def _rows(q: Tensor, step: Step) -> Tensor:
    if isinstance(step.batch, View):
        return q[:, step.batch.first : step.batch.first + step.batch.count]
    return q[:, step.rows]


def _keys(k: Tensor, v: Tensor, step: Step, size: int) -> tuple[Tensor, Tensor]:
    return key_rows(k, step, size), key_rows(v, step, size)


def key_rows(x: Tensor, step: Step, size: int) -> Tensor:
    """The key tiles of every row of a batch ``[..., rows, width * size, D]``.

    Windows that move by a constant step are a strided view of ``x``; others are gathered.
    """
    dim = x.dim() - 2
    batch = step.batch
    if not isinstance(batch, View):
        assert step.columns is not None
        tiles: Tensor = x.unflatten(dim, (-1, size)).index_select(dim, step.columns.flatten())
        tiles = tiles.unflatten(dim, tuple(step.columns.shape)).flatten(dim + 1, dim + 2)
        return tiles
    stop = batch.start + (batch.count - 1) * batch.step + batch.width
    part = x.narrow(dim, batch.start * size, (stop - batch.start) * size)
    if batch.step == 0:
        shape = list(part.shape)
        shape.insert(dim, batch.count)
        return part.unsqueeze(dim).expand(shape)
    return part.unfold(dim, batch.width * size, batch.step * size).transpose(-1, -2)


def _bias(step: Step, q: Tensor, pack: int) -> Tensor | None:
    """The mask as something to add: 0 where a slot attends, -inf where not."""
    if step.mask is None:
        return None
    zero = torch.zeros((), dtype=q.dtype, device=q.device)
    return torch.where(step.mask, zero, -torch.inf).repeat(1, pack, 1)[None]


def _put_rows(dq: Tensor, grad: Tensor, step: Step) -> None:
    if isinstance(step.batch, View):
        dq[:, step.batch.first : step.batch.first + step.batch.count] = grad
    else:
        assert step.rows is not None
        dq.index_copy_(1, step.rows, grad)


def _add_keys(dx: Tensor, grad: Tensor, step: Step, size: int) -> None:
    """Add the gradients of a batch's key tiles ``[G, rows, width * size, D]`` to all keys'."""
    batch = step.batch
    if not isinstance(batch, View):
        assert step.columns is not None
        tiles = dx.unflatten(1, (-1, size))
        tiles.index_add_(1, step.columns.flatten(), grad.unflatten(2, (-1, size)).flatten(1, 2))
        return
    first, width, stride = batch.start * size, batch.width * size, batch.step * size
    if stride == 0:
        dx[:, first : first + width] += grad.sum(1)
        return
    # Windows overlap, but their j-th stretches of one stride do not: add those at once.
    for j in range(0, width, stride):
        length = min(stride, width - j)
        shape = (dx.shape[0], batch.count, length, dx.shape[2])
        strides = (dx.stride(0), stride * dx.stride(1), dx.stride(1), dx.stride(2))
        place = dx.storage_offset() + (first + j) * dx.stride(1)
        dx.as_strided(shape, strides, place).add_(grad[:, :, j : j + length])


def flash(q: Tensor, v: Tensor) -> bool:
    """Is there a fused kernel that gives the lse?"""
    return q.device.type == "cpu" and q.shape[-1] == v.shape[-1]


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """``[G, R, M, D]``: output and natural-log lse ``[G, R, M]``. causal: key j for queries from
    j on."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, is_causal=causal, attn_mask=_expand(bias, q, k), scale=scale
    )
    return out, lse


def flash_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    bias: Tensor | None, scale: float, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of q, k and v."""
    dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, lse, 0.0, causal, attn_mask=_expand(bias, q, k), scale=scale
    )
    return dq, dk, dv


def _forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, batches: Batches
) -> tuple[Tensor, Tensor]:
    """One batch: output ``[G, R, M, Dv]`` and natural-log lse ``[G, R, M]``."""
    if flash(q, v):
        return flash_forward(q, k, v, bias, batches.scale)
    return _any_device(q, k, v, bias, batches)


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    bias: Tensor | None, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if flash(q, v):
        return flash_backward(grad, q, k, v, out, lse, bias, scale)
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    with torch.enable_grad():
        again = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    dq, dk, dv = torch.autograd.grad(again, (q, k, v), grad)
    return dq, dk, dv


def _expand(bias: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    return None if bias is None else bias.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])


def _any_device(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, batches: Batches
) -> tuple[Tensor, Tensor]:
    """Without a fused kernel that gives the lse: it is worked out only when it is asked for."""
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=batches.scale)
    if not batches.need_lse:
        return out, q.new_zeros(q.shape[:3])
    dtype = accumulation_dtype(q.dtype)
    scores = (q.to(dtype) @ k.to(dtype).transpose(-1, -2)) * batches.scale
    return out, torch.logsumexp(scores if bias is None else scores + bias, -1)
