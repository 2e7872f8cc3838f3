"""Chunks worked off in parts that fit the cache, forwards and backwards, as one autograd node.

Kept for the backward pass are the arguments and the state before each part. A part's tensors are
copied when they are cut: widened to the precision of the sums, heads repeated, the tail padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from attnlang.backends.linear.form import Tokens

Tensor = torch.Tensor
CPU_PART_BYTES, PART_BYTES = 1 << 20, 1 << 28
"""Memory of the largest tensor of one part: where fresh memory is slow, and elsewhere."""


@dataclass(frozen=True, slots=True)
class Grads:
    """Of one part ``[..., n, C, width]``; decay has the shape that it has in the part."""

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor | None
    beta: Tensor | None = None


class Rule(Protocol):
    """How the tokens of a part meet a state ``[B, H, K', V]``. Tokens are chunked and widened."""

    def forward(self, x: Tokens, first: Tensor) -> tuple[Tensor, Tensor]:
        """The output ``[B, H, n, C, V]`` and the state after the part."""
        ...

    def backward(
        self, x: Tokens, first: Tensor, d_out: Tensor, d_final: Tensor, need_decay: bool
    ) -> tuple[Grads, Tensor]:
        """The gradients of the tokens and of the state before the part."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """size: tokens of a chunk. length: tokens of a part, whole chunks. heads: of the output."""

    rule: Rule
    constant: bool
    size: int
    length: int
    heads: int


def cut(x: Tokens, first: Tensor, chunk: int, rule: Rule) -> Cut:
    """Chunks of about that many tokens, in parts that fit the cache."""
    length = x.q.shape[2]
    size = max(1, min(chunk, length))
    if x.decay.shape[-1] > 1:
        size = 1 << (size - 1).bit_length()  # decays per channel halve chunks
    per_token = x.q.shape[0] * x.heads * max(size, *first.shape[2:]) * first.element_size()
    most = CPU_PART_BYTES if first.device.type == "cpu" else PART_BYTES
    return Cut(rule, x.constant, size, max(1, most // (per_token * size)) * size, x.heads)


def run(x: Tokens, first: Tensor, chunk: int, rule: Rule) -> tuple[Tensor, Tensor]:
    """The output ``[B, H, N, V]``, as accumulated, and the final state."""
    given = (x.q, x.k, x.v, x.decay, x.beta, first, cut(x, first, chunk, rule))
    out, final = _Parts.apply(*given)  # type: ignore[no-untyped-call]
    return out, final


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor | None,
        first: Tensor, cut: Cut,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        whole = Tokens(q, k, v, decay, beta, cut.constant)
        out = first.new_empty(q.shape[0], cut.heads, *v.shape[2:])
        states = [first]
        for part in split(0, q.shape[2], cut.length):
            found, state = cut.rule.forward(taken(whole, part, cut), states[-1])
            out[:, :, part] = joined(found, part)
            states.append(state)
        ctx.cut = cut
        ctx.save_for_backward(q, k, v, decay, beta, *states[:-1])
        return out, states[-1] if len(states) > 1 else first.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_state: Tensor) -> tuple[Any, ...]:
        q, k, v, decay, beta, *states = ctx.saved_tensors
        cut: Cut = ctx.cut
        whole = Tokens(q, k, v, decay, beta, cut.constant)
        need_decay = ctx.needs_input_grad[3]
        given = (q, k, v, decay if need_decay else None, beta)
        grads = [None if x is None else x.new_empty(x.shape) for x in given]
        every = split(0, q.shape[2], cut.length)
        for part, state in reversed(list(zip(every, states, strict=True))):
            x = taken(whole, part, cut)
            found, d_state = cut.rule.backward(
                x, state, padded(d_out[:, :, part], cut.size), d_state, need_decay
            )
            parts = (found.q, found.k, found.v, found.decay, found.beta)
            for grad, piece in zip(grads, parts, strict=True):
                if grad is not None and piece is not None:
                    piece = joined(piece, part)
                    grad[:, :, part] = piece.unflatten(1, (grad.shape[1], -1)).sum(2)
        return *grads, d_state, None


def split(start: int, stop: int, length: int) -> list[slice]:
    """The tokens from start to stop in parts."""
    return [slice(i, min(i + length, stop)) for i in range(start, stop, length)]


def taken(x: Tokens, part: slice, cut: Cut) -> Tokens:
    """The padding has q, k, v and beta of 0 and no decay: it neither reads, writes nor forgets."""

    def part_of(y: Tensor) -> Tensor:
        return y[:, :, part]

    return x.map(part_of).widened().map(lambda y: padded(y, cut.size))


def padded(x: Tensor, size: int) -> Tensor:
    chunks: Tensor = F.pad(x, (0, 0, 0, -x.shape[2] % size)).unflatten(2, (-1, size))
    return chunks


def joined(x: Tensor, part: slice) -> Tensor:
    return x.flatten(2, 3)[:, :, : part.stop - part.start]
