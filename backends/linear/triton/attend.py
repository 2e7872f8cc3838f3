"""Linear attention by kernels: what they run, and the autograd node around them."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.linear.form import Tokens, Weights
from attnlang.backends.linear.triton.launch import Sequence
from attnlang.compiler.diagnostics.model import Unsupported

Tensor = torch.Tensor


def run(
    x: Tokens, first: Tensor, scale: float, weights: Weights | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The output ``[B, H, N, V]`` in ``dtype`` and the final state.

    Raises Unsupported for what there are no kernels for, and for tensors that they cannot read.
    """
    _check(x, weights)
    given = (x.q, x.k, x.v, x.decay[..., 0], first, x.heads, scale, dtype)
    out, final = _Kernels.apply(*given)  # type: ignore[no-untyped-call]
    return out, final


def _check(x: Tokens, weights: Weights | None) -> None:
    on_cpu = x.q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"
    features = {
        "the delta rule": x.beta is not None,
        "decays per channel": x.decay.shape[-1] > 1,
        "polynomial weights": weights is not None,
        "float64 tensors": x.dtype is torch.float64,
        "q, k and v of different dtypes": len({x.q.dtype, x.k.dtype, x.v.dtype}) > 1,
        "tensors on the CPU": on_cpu,
    }
    for feature, present in features.items():
        if present:
            raise Unsupported(feature, "triton", "backend='blocked'")


class _Kernels(torch.autograd.Function):
    """States are worked out again in the backward pass instead of being kept."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, a: Tensor, first: Tensor, heads: int,
        scale: float, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        x = _sequence(q, k, v, a, heads, scale)
        first = first.contiguous()
        states, final = x.states(), torch.empty_like(first)
        out = q.new_empty(q.shape[0], heads, *v.shape[2:], dtype=dtype)
        x.forward(first, states, final)()
        x.output(states, out)()
        ctx.options = heads, scale
        ctx.save_for_backward(q, k, v, a, first)
        return out, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Any, ...]:
        q, k, v, a, first = ctx.saved_tensors
        heads, scale = ctx.options
        x = _sequence(q, k, v, a, heads, scale)
        d_out = _rows(d_out.to(v.dtype))
        states, ends, d_first = x.states(), x.states(), torch.empty_like(first)
        x.forward(first, states, torch.empty_like(first))()
        x.backward(d_out, d_final.contiguous(), ends, d_first)()
        d_q, d_k, d_v = (_room(y, heads) for y in (q, k, v))
        for launch in x.gradients(states, ends, d_out, (d_q, d_k, d_v)):
            launch()
        d_a = None
        if ctx.needs_input_grad[3]:
            every = a.new_empty(q.shape[:1] + (heads, q.shape[2]))
            x.decay_gradient(states, ends, d_out, every)()
            d_a = _gathered(every, a)
        return _gathered(d_q, q), _gathered(d_k, k), _gathered(d_v, v), d_a, d_first, *[None] * 3


def _sequence(q: Tensor, k: Tensor, v: Tensor, a: Tensor, heads: int, scale: float) -> Sequence:
    return Sequence(_rows(q), _rows(k), _rows(v), a.contiguous(), heads, scale)


def _rows(x: Tensor) -> Tensor:
    """The tensor with each row in one piece."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _room(x: Tensor, heads: int) -> Tensor:
    """For the gradient of x by every head; heads that are added up are kept in float32."""
    dtype = x.dtype if x.shape[1] == heads else torch.float32
    return x.new_empty(x.shape[0], heads, *x.shape[2:], dtype=dtype)


def _gathered(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of x: heads, and batch, added up where x has fewer."""
    return grad.unflatten(1, (x.shape[1], -1)).sum(2).sum_to_size(x.shape).to(x.dtype)
