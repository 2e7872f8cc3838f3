"""Chunks of linear attention whose tokens add to the state, and their gradients by hand.

Inside a chunk pairs are weighed as in attention; between chunks a state ``[K', V]`` is handed on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.linear import polynomial, scan
from attnlang.backends.linear.form import Tokens, Weights
from attnlang.backends.linear.meeting import meeting, meeting_adjoint
from attnlang.backends.linear.parts import Grads
from attnlang.backends.linear.scores import decays, plus_pairs, scores, scores_adjoint

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Additive:
    """``S = e^decay S + k v^T``; a pair weighs scale q.k, or the polynomial ``weights`` of that."""

    scale: float
    weights: Weights | None

    def forward(self, x: Tokens, first: Tensor) -> tuple[Tensor, Tensor]:
        meet = meeting(x.decay)
        reads, writes = self._meet(x)
        states, final = scan.states(meet.carry, (writes * meet.write).mT @ x.v, first)
        found = scores(x.q, x.k, decays(x.decay, x.constant), self.scale, self.weights)
        return found.weights @ x.v + (reads * meet.read) @ states, final

    def backward(
        self, x: Tokens, first: Tensor, d_out: Tensor, d_final: Tensor, need_decay: bool
    ) -> tuple[Grads, Tensor]:
        meet, decay = meeting(x.decay), decays(x.decay, x.constant)
        reads, writes = self._meet(x)
        written = writes * meet.write
        states, _ = scan.states(meet.carry, written.mT @ x.v, first)
        ends, d_first = scan.adjoints(meet.carry, (reads * meet.read).mT @ d_out, d_final)
        found = scores(x.q, x.k, decay, self.scale, self.weights)
        d_v = found.weights.mT @ d_out + written @ ends
        d_reads = (d_out @ states.mT) * meet.read
        d_writes = (x.v @ ends.mT) * meet.write
        d_q, d_k, d_pairs = scores_adjoint(
            x.q, x.k, decay, self.scale, found, d_out @ x.v.mT, need_decay
        )
        d_a = None
        if need_decay:
            d_carry = meet.carry * (states * ends).sum(-1, keepdim=True)
            width = x.decay.shape[-1]
            d_a = meeting_adjoint(d_reads * reads, d_writes * writes, d_carry, width)
            d_a = plus_pairs(d_a, d_pairs, x.decay)
        more_q, more_k = self._meet_adjoint(x, d_reads, d_writes)
        return Grads(d_q + more_q, d_k + more_k, d_v, d_a), d_first

    def _meet(self, x: Tokens) -> tuple[Tensor, Tensor]:
        """What reads and writes the state, ``[..., C, K']``."""
        if self.weights is None:
            return x.q * self.scale, x.k
        factors = polynomial.coefficients(x.q, self.scale, self.weights)
        return polynomial.features(x.q) * factors, polynomial.features(x.k)

    def _meet_adjoint(self, x: Tokens, d_reads: Tensor, d_writes: Tensor) -> tuple[Tensor, Tensor]:
        if self.weights is None:
            return d_reads * self.scale, d_writes
        factors = polynomial.coefficients(x.q, self.scale, self.weights)
        return (
            polynomial.features_adjoint(x.q, d_reads * factors),
            polynomial.features_adjoint(x.k, d_writes),
        )
