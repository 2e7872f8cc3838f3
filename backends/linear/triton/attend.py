"""Linear attention by kernels: what they run, and the autograd node around them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.linear.form import Tokens, Weights
from attnlang.backends.linear.polynomial import lifted
from attnlang.backends.linear.triton.launch import (
    CHOICES,
    FIRST,
    Choice,
    Sequence,
    Unfit,
    decay_sums,
)

Tensor = torch.Tensor
T = TypeVar("T")


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
        first = first.contiguous()

        def work(choices: Mapping[str, Choice]) -> tuple[Tensor, Tensor]:
            x = _sequence(q, k, v, a, beta, heads, scale, choices)
            made = _Made(x, first)
            out = q.new_empty(q.shape[0], heads, *v.shape[2:], dtype=dtype)
            x.meet(
                x.q, x.k, made.written, out, states=made.states, pairs=_weights(x), factor=scale
            )()
            return out, made.final

        ctx.options = heads, scale, choices
        ctx.save_for_backward(q, k, v, a, beta, first)
        return _fitted(_class(q, v, a, beta), choices, work)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Any, ...]:
        q, k, v, a, beta, first = ctx.saved_tensors
        heads, scale, choices = ctx.options
        d_out, d_final = _rows(_multiplied(d_out)), d_final.contiguous()

        def work(choices: Mapping[str, Choice]) -> tuple[list[Tensor], Tensor]:
            x = _sequence(q, k, v, a, beta, heads, scale, choices)
            return _gradients(x, first, d_out, d_final)

        found, d_first = _fitted(_class(q, v, a, beta), choices, work)
        given = [q, k, v, a, *([] if beta is None else [beta])]
        summed = [_gathered(d, y) for d, y in zip(found, given, strict=True)]
        return *summed, *([None] if beta is None else []), d_first, *[None] * 4


def _gradients(
    x: Sequence, first: Tensor, d_out: Tensor, d_final: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Those of q, k, v, a and, where there is one, beta, by query heads; that of first."""
    made, weights = _Made(x, first), _weights(x)
    ends, d_first, d_v = x.states(), torch.empty_like(first), x.values()
    d_beta: list[Tensor] = []
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
        missing = x.v.repeat_interleave(x.heads // x.v.shape[1], 1) - seen
        x.meet(x.k, x.q, d_v, seen, states=None, pairs=made.keys, back=True)()
        d_beta = [(missing * (d_written - seen)).sum(-1, keepdim=True)]
    d_q, d_k = x.keys(), x.keys()
    width = x.sums.shape[3] if x.by_channel else x.columns
    d_a = d_q.new_empty(*d_q.shape[:3], width)
    x.gradients(made.written, made.states, ends, d_out, d_v, (d_q, d_k, d_a))()
    d_a = d_a if x.by_channel else d_a.sum(-1, keepdim=True)
    return [d_q, d_k, d_v, d_a, *d_beta], d_first


_fitting: dict[Hashable, Mapping[str, Choice]] = {}
"""What was found to fit where the first choices do not."""


def _fitted(
    kind: Hashable, choices: Mapping[str, Choice], work: Callable[[Mapping[str, Choice]], T]
) -> T:
    """Work with the first choice of every kernel that the device has room for. Raises Unfit where
    there is none."""
    choices = _fitting.get(kind, choices)
    while True:
        try:
            return work(choices)
        except Unfit as no:
            among, now = CHOICES[no.kernel], choices[no.kernel]
            others = among[among.index(now) + 1 :] if now in among else among
            if not others:
                raise
            _fitting[kind] = choices = {**choices, no.kernel: others[0]}


def _class(q: Tensor, v: Tensor, a: Tensor, beta: Tensor | None) -> Hashable:
    """What the room that kernels need depends on."""
    return q.device, q.dtype, q.shape[3], v.shape[3], a.shape[3], beta is None


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
