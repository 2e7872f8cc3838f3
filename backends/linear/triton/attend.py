"""Linear attention by kernels: what they run, and the autograd node around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.linear.form import Tokens, Weights
from attnlang.backends.linear.polynomial import lifted
from attnlang.backends.linear.triton.launch import FIRST, Choice, Sequence, decay_sums

Tensor = torch.Tensor


def run(
    x: Tokens, first: Tensor, scale: float, weights: Weights | None, dtype: torch.dtype,
    choices: Mapping[str, Choice] = FIRST,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The output ``[B, H, N, V]`` in ``dtype`` and the final state.

    A polynomial of the score is run as the product of its features.
    What there are no kernels for is told by `support`.
    """
    if weights is not None:
        x, scale = lifted(x, scale, weights), 1.0
    q, k, v = (_multiplied(y) for y in (x.q, x.k, x.v))
    if len({q.dtype, k.dtype, v.dtype}) > 1:
        q, k, v = (y.to(x.dtype) for y in (q, k, v))
    given = (q, k, v, x.decay, x.beta, first, x.heads, scale, dtype, choices)
    out, final = _Kernels.apply(*given)  # type: ignore[no-untyped-call]
    return out, final


class _Kernels(torch.autograd.Function):
    """States, and what the delta rule writes, are worked out again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, a: Tensor, beta: Tensor | None, first: Tensor,
        heads: int, scale: float, dtype: torch.dtype, choices: Mapping[str, Choice],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        x = _sequence(q, k, v, a, beta, heads, scale, choices)
        first = first.contiguous()
        made = _Made(x, first)
        out = q.new_empty(q.shape[0], heads, *v.shape[2:], dtype=dtype)
        x.meet(x.q, x.k, made.written, out, states=made.states, pairs=_weights(x), factor=scale)()
        ctx.options = heads, scale, choices
        ctx.save_for_backward(q, k, v, a, beta, first)
        return out, made.final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Any, ...]:
        q, k, v, a, beta, first = ctx.saved_tensors
        heads, scale, choices = ctx.options
        x = _sequence(q, k, v, a, beta, heads, scale, choices)
        d_out, d_final = _rows(_multiplied(d_out)), d_final.contiguous()
        made, weights = _Made(x, first), _weights(x)
        ends, d_first, d_v = x.states(), torch.empty_like(first), x.values()
        d_beta = None
        if x.beta is None:
            x.scan(x.q, d_out, d_final, ends, d_first, back=True)()
            x.meet(x.k, x.q, d_out, d_v, states=ends, pairs=weights, back=True)()
        else:
            d_written, seen = x.values(), x.values()
            x.meet(x.k, x.q, d_out, d_v, states=None, pairs=weights, back=True)()
            x.delta_scan_back(d_out, d_v, made.w, d_final, ends, d_first, d_written)()
            x.meet(x.k, x.q, d_written, d_v, states=None, pairs=made.solver, back=True)()
            # What was written is beta times this: the values less what keys see of the past.
            x.meet(x.k, x.q, made.written, seen, states=made.states, pairs=made.keys)()
            missing = v.repeat_interleave(heads // v.shape[1], 1) - seen
            x.meet(x.k, x.q, d_v, seen, states=None, pairs=made.keys, back=True)()
            d_beta = _gathered((missing * (d_written - seen)).sum(-1, keepdim=True), x.beta)
        d_q, d_k = x.keys(), x.keys()
        d_a = d_q.new_empty(*d_q.shape[:3], a.shape[3] if x.by_channel else x.columns)
        x.gradients(made.written, made.states, ends, d_out, d_v, (d_q, d_k, d_a))()
        d_a = d_a if x.by_channel else d_a.sum(-1, keepdim=True)
        found = (_gathered(d, y) for d, y in ((d_q, q), (d_k, k), (d_v, v), (d_a, a)))
        return *found, d_beta, d_first, None, None, None, None


class _Made:
    """What the forward pass makes before the output.

    states: before each chunk. written: by each token, the value or what the delta rule makes of
    it; then also keys, solver and w of its systems.
    """

    def __init__(self, x: Sequence, first: Tensor) -> None:
        self.states, self.final, self.written = x.states(), torch.empty_like(first), x.v
        if x.beta is None:
            x.scan(x.k, x.v, first, self.states, self.final, back=False)()
            return
        self.keys, self.solver, self.w, self.written = x.pairs(), x.pairs(), x.keys(), x.values()
        given = x.values()
        x.solve(self.keys, self.solver, given, self.w)()
        x.delta_scan(given, self.w, first, self.states, self.final, self.written)()


def _weights(x: Sequence) -> Tensor | None:
    """The weights of pairs, where they are kept in memory."""
    if x.direct:
        return None
    weights = x.pairs()
    x.weigh(weights)()
    return weights


def _sequence(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, beta: Tensor | None, heads: int, scale: float,
    choices: Mapping[str, Choice],
) -> Sequence:  # fmt: skip
    sums, fill = decay_sums(a, choices["accumulate"])
    fill()
    return Sequence(_rows(q), _rows(k), _rows(v), sums, beta, heads, scale, choices)


def _multiplied(x: Tensor) -> Tensor:
    """What products can be made of: Triton's interpreter multiplies the bits of bfloat16."""
    return x.float() if x.dtype is torch.bfloat16 and x.device.type == "cpu" else x


def _rows(x: Tensor) -> Tensor:
    """The tensor with each row in one piece."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _gathered(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of x: heads, and batch, added up where x has fewer."""
    by_head: Tensor = grad.unflatten(1, (x.shape[1], -1)).sum(2)
    return by_head.sum_to_size(x.shape).to(x.dtype)
