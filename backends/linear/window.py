"""Heads that forget so fast that they are sliding windows: no state, pairs alone.

What lies further back than the horizon of a constant decay counts less than the last bit of the
sums: 2^-24 in float32, 2^-53 in float64. Every chunk weighs its own tokens and the last ones
before it; the state before the first token is met by the first chunk, that after the last by two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from attnlang.backends.linear import parts
from attnlang.backends.linear.additive import Additive
from attnlang.backends.linear.form import Tokens, repeated
from attnlang.backends.linear.scores import Decays, Scores, scores, scores_adjoint
from attnlang.compiler.ir.horizon import horizon

Tensor = torch.Tensor
SMALLEST = 16
"""Windows are powers of two from here on: heads with like horizons run together."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads ``start <= head < stop`` of all. window: tokens before a chunk; None: with states."""

    start: int
    stop: int
    window: int | None

    def tokens(self, x: Tokens) -> Tokens:
        """Theirs; tensors of one head stay so."""
        if self.stop - self.start == x.heads:
            return x

        def of(y: Tensor) -> Tensor:
            share = x.heads // y.shape[1]
            if y.shape[1] == 1:
                return y
            if self.start % share or self.stop % share:
                return repeated(y, x.heads)[:, self.start : self.stop]
            return y[:, self.start // share : self.stop // share]

        return x.map(of)


def kinds(
    x: Tokens, chunk: int, features: int, decays: Sequence[float] | None = None
) -> list[Heads]:
    """Consecutive heads by what is faster for them. Looks at the decays only on the CPU.

    decays: these as numbers, for so many heads, where they are known without looking.
    features: channels of the state. A window of w tokens costs w (K + V) products for each token,
    a state twice its size, ``features * V``; those of a window take twice as long, as measured.
    """
    if decays is None and x.constant and x.decay.device.type == "cpu" and x.q.shape[2]:
        decays = x.decay[0, :, 0, 0].tolist()
    if decays is None or not x.constant or x.beta is not None or not x.q.shape[2]:
        return [Heads(0, x.heads, None)]
    width, value_width = x.k.shape[3], x.v.shape[3]
    most = min(chunk, features * value_width // (width + value_width))
    bits = 53 if x.dtype is torch.float64 else 24

    def window(log_decay: float) -> int | None:
        if not log_decay < 0:
            return None
        size = max(SMALLEST, 1 << (horizon(log_decay, bits) - 1).bit_length())
        return size if size <= most and x.q.shape[2] > 2 * chunk else None

    found = [window(a) for a in decays]
    found = [w for w in found for _ in range(x.heads // len(found))]
    runs = [list(g) for _, g in groupby(range(x.heads), key=found.__getitem__)]
    return [Heads(r[0], r[-1] + 1, found[r[0]]) for r in runs]


def run(
    x: Tokens,
    first: Tensor,
    chunk: int,
    rule: Additive,
    features: int,
    decays: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`parts.run`, each head by what is faster for it."""
    found = []
    for heads in kinds(x, chunk, features, decays):
        theirs, start = heads.tokens(x), first[:, heads.start : heads.stop]
        if heads.window is None:
            found.append(parts.run(theirs, start, chunk, rule))
        else:
            cut = parts.cut(theirs, start, chunk, rule)
            given = (theirs.q, theirs.k, theirs.v, theirs.decay, start, cut, heads.window, rule)
            found.append(_Window.apply(*given))  # type: ignore[no-untyped-call]
    if len(found) == 1:
        return found[0]
    outs, finals = zip(*found, strict=True)
    return torch.cat(outs, 1), torch.cat(finals, 1)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, first: Tensor, cut: parts.Cut,
        window: int, rule: Additive,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        x = Tokens(q, k, v, decay, None, True)
        out = first.new_empty(q.shape[0], cut.heads, *v.shape[2:])
        begin, end = _ends(q.shape[2], cut.size)
        found, _ = rule.forward(parts.taken(x, begin, cut), first)
        out[:, :, begin] = parts.joined(found, begin)
        for part in parts.split(begin.stop, q.shape[2], cut.length):
            near = _Near.of(x, part, cut, window, rule)
            out[:, :, part] = parts.joined(near.pairs.weights @ near.values, part)
        _, final = rule.forward(parts.taken(x, end, cut), torch.zeros_like(first))
        ctx.options = cut, window, rule
        ctx.save_for_backward(q, k, v, decay, first)
        return out, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Any, ...]:
        q, k, v, decay, first = ctx.saved_tensors
        cut, window, rule = ctx.options
        need_decay = ctx.needs_input_grad[3]
        x = Tokens(q, k, v, decay, None, True)
        begin, end = _ends(q.shape[2], cut.size)
        grads = [torch.zeros_like(y) for y in (q, k, v)]
        d_decay = torch.zeros_like(decay) if need_decay else None

        def add(piece: Tensor, grad: Tensor, at: slice) -> None:
            piece = piece.flatten(2, 3) if piece.dim() == 5 else piece
            piece = piece[:, :, : at.stop - at.start].unflatten(1, (grad.shape[1], -1)).sum(2)
            grad[:, :, at] += piece.sum_to_size(grad[:, :, at].shape)

        def add_ends(found: parts.Grads, at: slice) -> None:
            for piece, grad in zip((found.q, found.k, found.v), grads, strict=True):
                add(piece, grad, at)
            if d_decay is not None and found.decay is not None:
                add(found.decay, d_decay, at)

        outs = parts.padded(d_out[:, :, begin], cut.size)
        found, d_first = rule.backward(
            parts.taken(x, begin, cut), first, outs, torch.zeros_like(first), need_decay
        )
        add_ends(found, begin)
        ending, nothing = parts.taken(x, end, cut), torch.zeros_like(first)
        found, _ = rule.backward(ending, nothing, torch.zeros_like(ending.v), d_final, need_decay)
        add_ends(found, end)
        for part in parts.split(begin.stop, q.shape[2], cut.length):
            near = _Near.of(x, part, cut, window, rule)
            outs = parts.padded(d_out[:, :, part], cut.size)
            d_pairs = outs @ near.values.mT
            d_q, d_keys, _ = scores_adjoint(
                near.queries, near.keys, near.decays, rule.scale, near.pairs, d_pairs, False
            )
            add(d_q, grads[0], part)
            behind = slice(part.start - window, part.stop)
            add(_overlaid(d_keys, window), grads[1], behind)
            add(_overlaid(near.pairs.weights.mT @ outs, window), grads[2], behind)
            if d_decay is not None:
                # The same for all tokens: the first stands for them.
                by_head = (d_pairs * near.pairs.weights * near.distance).sum((0, 2, 3, 4))
                d_decay[0, :, 0, 0] += by_head.unflatten(0, (decay.shape[1], -1)).sum(1)
        return *grads, d_decay, d_first, None, None, None


@dataclass(frozen=True, slots=True)
class _Near:
    """Queries ``[B, H, n, C, K]`` of one part, with the keys and values ``[B, H, n, W + C, ..]`` of
    their chunk and of the W tokens before it. distance ``[C, W + C]``."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    decays: Decays
    distance: Tensor
    pairs: Scores

    @staticmethod
    def of(x: Tokens, part: slice, cut: parts.Cut, window: int, rule: Additive) -> _Near:
        behind = slice(part.start - window, part.start)
        here, before = parts.taken(x, part, cut), x.map(lambda y: y[:, :, behind]).widened()

        def with_tails(y: Tensor, tail: Tensor) -> Tensor:
            whole = torch.cat((tail, y.flatten(2, 3)), 2)
            return whole.unfold(2, window + cut.size, cut.size).mT

        keys, values = with_tails(here.k, before.k), with_tails(here.v, before.v)
        places = torch.arange(-window, cut.size, device=x.q.device)
        distance = places[window:, None] - places
        exponent = before.decay[:, :, :1, None] * distance.clamp(min=1)
        exponent = torch.where(distance == 0, 0.0, exponent)
        decays = Decays(x.decay, torch.where(distance < 0, 0.0, exponent.exp()))
        pairs = scores(here.q, keys, decays, rule.scale, rule.weights)
        return _Near(here.q, keys, values, decays, distance, pairs)


def _ends(length: int, chunk: int) -> tuple[slice, slice]:
    """The first chunk, and the last two, of which the last may be short."""
    return slice(0, chunk), slice((-(-length // chunk) - 2) * chunk, length)


def _overlaid(x: Tensor, window: int) -> Tensor:
    """``[B, H, n, W + C, K]`` to ``[B, H, W + n C, K]``: tokens of two chunks added up."""
    tails, own = x[..., :window, :], x[..., window:, :]
    whole = torch.cat((torch.zeros_like(tails[:, :, 0]), own.flatten(2, 3)), 2)
    whole[:, :, :-window].unflatten(2, (own.shape[2], -1))[..., :window, :] += tails
    return whole
