"""Chunks of the gated delta rule, and their gradients by hand.

A chunk's tokens write X instead of their values: (I + A) X = beta (V - decayed K S), with A the
strictly lower part of beta times the decayed products of keys. X is linear in the state S that
the chunk finds, X = X0 - W S, so that the state after it is a matrix times S plus a part of its
own: one triangular solve for all chunks, and one small product a chunk.
Source: Yang et al., arXiv 2406.06484 and 2412.06464.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.linear import scan
from attnlang.backends.linear.form import Tokens
from attnlang.backends.linear.meeting import Meeting, meeting, meeting_adjoint
from attnlang.backends.linear.parts import Grads
from attnlang.backends.linear.scores import (
    Decays,
    Scores,
    decays,
    plus_pairs,
    scores,
    scores_adjoint,
)

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class _Chunks:
    """What both passes work out of k, v, decay and beta.

    keys: decayed products of keys. system: A. asks, writes: keys decayed since the chunk began
    and until it ends. x0 ``[..., C, V]``, w ``[..., C, K]``: X = x0 - w S.
    carry ``[..., K, K]``: what the state after the chunk takes of the one before it.
    """

    meet: Meeting
    decay: Decays
    keys: Scores
    system: Tensor
    asks: Tensor
    writes: Tensor
    x0: Tensor
    w: Tensor
    carry: Tensor


def _chunks(x: Tokens) -> _Chunks:
    k, beta = x.k, x.beta
    assert beta is not None
    meet, decay = meeting(x.decay), decays(x.decay, x.constant)
    keys = scores(k, k, decay, 1.0, None)
    system = (beta * keys.weights).tril(-1)
    asks, writes = k * meet.read, k * meet.write
    both = beta * torch.cat((x.v, asks), -1)
    solved = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True)
    x0, w = solved.split((x.v.shape[-1], k.shape[-1]), -1)
    kept = torch.diag_embed(meet.carry[..., 0].expand(*meet.carry.shape[:-2], k.shape[-1]))
    return _Chunks(meet, decay, keys, system, asks, writes, x0, w, kept - writes.mT @ w)


@dataclass(frozen=True, slots=True)
class Delta:
    """The state decays, then v minus what k reads of it, times beta, is written in place of v."""

    scale: float

    def forward(self, x: Tokens, first: Tensor) -> tuple[Tensor, Tensor]:
        c = _chunks(x)
        states, final = scan.states(c.carry, c.writes.mT @ c.x0, first)
        weights = scores(x.q, x.k, c.decay, self.scale, None).weights
        out = weights @ (c.x0 - c.w @ states) + (x.q * c.meet.read * self.scale) @ states
        return out, final

    def backward(
        self, x: Tokens, first: Tensor, d_out: Tensor, d_final: Tensor, need_decay: bool
    ) -> tuple[Grads, Tensor]:
        assert x.beta is not None
        c = _chunks(x)
        states, _ = scan.states(c.carry, c.writes.mT @ c.x0, first)
        found = scores(x.q, x.k, c.decay, self.scale, None)
        reads = x.q * c.meet.read * self.scale
        written = c.x0 - c.w @ states
        # From the end of each chunk to its beginning, through X and past it.
        from_out = found.weights.mT @ d_out
        ends, d_first = scan.adjoints(c.carry, reads.mT @ d_out - c.w.mT @ from_out, d_final)
        d_x = from_out + c.writes @ ends
        d_y = torch.linalg.solve_triangular(c.system.mT, d_x, upper=True, unitriangular=True)
        d_system = -(d_y @ written.mT).tril(-1)
        d_v = x.beta * d_y
        d_beta = (d_y * (x.v - c.asks @ states)).sum(-1, keepdim=True)
        d_beta = d_beta + (d_system * c.keys.weights).sum(-1, keepdim=True)
        d_q, d_k, d_pairs = scores_adjoint(
            x.q, x.k, c.decay, self.scale, found, d_out @ written.mT, need_decay
        )
        left, right, more = scores_adjoint(
            x.k, x.k, c.decay, 1.0, c.keys, d_system * x.beta, need_decay
        )
        from_reads = (d_out @ states.mT) * c.meet.read * self.scale
        from_asks = -(d_v @ states.mT) * c.meet.read
        from_writes = (written @ ends.mT) * c.meet.write
        d_a = None
        if need_decay:
            d_carry = c.meet.carry * (states * ends).sum(-1, keepdim=True)
            d_read = from_reads * x.q + from_asks * x.k
            d_a = meeting_adjoint(d_read, from_writes * x.k, d_carry, x.decay.shape[-1])
            d_a = plus_pairs(plus_pairs(d_a, d_pairs, x.decay), more, x.decay)
        d_k = d_k + left + right + from_asks + from_writes
        return Grads(d_q + from_reads, d_k, d_v, d_a, d_beta), d_first
