"""Dense attention, the oracle: every pair is evaluated, nothing is skipped.

``softmax over allowed keys of score(scale * q.k)``, with a sink in the denominator; the
gradients are autograd's. Works in float64. Memory is O(B H Nq Nk).
"""

from __future__ import annotations

import torch

from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.expr import Index, Side
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser
from attnlang.compiler.problem.problem import Problem

NAME = "reference"


def mask(
    problem: Problem, inputs: Inputs, device: torch.device, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Which pairs attend, before the rule for empty rows: bool ``[B or 1, H, Nq, Nk]``.

    rows: places of some queries ``[R]``; then ``[B or 1, H, R, Nk]``.
    """
    pairs = Pairs(problem, inputs, device, rows)
    queries = problem.q_len if rows is None else len(rows)
    shape = (inputs.batch, problem.heads, queries, problem.k_len)
    allowed = torch.zeros(shape, dtype=torch.bool, device=device)
    for group in problem.groups:
        heads = (pairs.head >= group.start) & (pairs.head < group.stop)
        allowed = allowed | (heads & pairs.value(group.attend.where))
    return allowed


def attend(call: Call, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Output ``[B, Hq, Nq, Dv]`` in q's dtype, and lse ``[B, Hq, Nq]`` in float32 or better.

    lse is the natural logarithm of the softmax's denominator, sink included; -inf for a row
    without any key or sink. rows: places of the only queries to compute, int64 ``[R]``: what
    makes long sequences affordable; then R stands for Nq.
    """
    problem = call.problem
    dtype = accumulation_dtype(call.q.dtype)
    repeat = problem.heads // problem.kv_heads
    q = (call.q if rows is None else call.q[:, :, rows]).to(dtype)
    k = call.k.to(dtype).repeat_interleave(repeat, dim=1)
    v = call.v.to(dtype).repeat_interleave(repeat, dim=1)
    pairs = Pairs(problem, call.inputs, q.device, rows)
    raw = q @ k.transpose(-1, -2)
    allowed = mask(problem, call.inputs, q.device, rows).expand(raw.shape)
    zero = torch.zeros((), dtype=dtype, device=q.device)

    scores = zero.expand(raw.shape)
    gains = zero.new_ones(()).expand(raw.shape)
    plain = torch.zeros_like(allowed)
    sinks = torch.full_like(raw[..., 0], -torch.inf)
    passthrough = torch.zeros_like(raw[..., 0], dtype=torch.bool)
    direct = torch.zeros_like(raw[..., :1]) * v[..., :1, :]
    for group in problem.groups:
        attended = group.attend
        heads = (pairs.head >= group.start) & (pairs.head < group.stop)
        empty = heads & ~allowed.any(-1, keepdim=True)
        match attended.empty:
            case EmptyRule.SELF:
                allowed = allowed | (
                    empty & (pairs.value(Index(Side.Q)) == pairs.value(Index(Side.K)))
                )
            case EmptyRule.FULL:
                allowed = allowed | empty
            case EmptyRule.PASSTHROUGH:
                passthrough = passthrough | empty[..., 0]
            case EmptyRule.ZERO:
                pass
        pairs.seen = heads
        default = call.scale if call.scale is not None else call.q.shape[-1] ** -0.5
        scale = default if attended.scale is None else pairs.value(attended.scale).to(dtype)
        if attended.sink is not None:
            # A sink varies with the query and head, not the key: one column of the pairs.
            sink = pairs.value(attended.sink).to(dtype).expand(*raw.shape[:-1], 1)[..., 0]
            sinks = torch.where(heads[..., 0], sink, sinks)
        pairs.seen = pairs.whole = heads & allowed
        pairs.score = raw * scale
        edited = pairs.score if attended.score is None else pairs.value(attended.score).to(dtype)
        scores = torch.where(heads, edited, scores)
        if attended.gain is not None:
            gains = torch.where(pairs.whole, pairs.value(attended.gain).to(dtype), gains)
        if attended.normaliser is not Normaliser.SOFTMAX:
            plain = plain | heads
            weights = torch.where(heads, _weights(edited, allowed, attended.normaliser), 0.0)
            direct = direct + (weights * gains) @ v
    out, lse = _softmax(scores, allowed, sinks, gains, v)
    out = torch.where(plain.any(-1, keepdim=True), direct, out)
    if passthrough.any():
        out = torch.where(passthrough[..., None], q, out)
    return out.to(call.q.dtype), lse


def _weights(scores: torch.Tensor, allowed: torch.Tensor, how: Normaliser) -> torch.Tensor:
    """The scores themselves as weights. A divisor of 0 makes them 0."""
    weights = torch.where(allowed, scores, 0.0)
    if how is Normaliser.NONE:
        return weights
    total = weights if how is Normaliser.SUM else allowed.to(weights.dtype)
    divisor = total.sum(-1, keepdim=True)
    none = divisor == 0
    return torch.where(none, 0.0, weights / torch.where(none, 1.0, divisor))


def _softmax(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    sinks: torch.Tensor,
    gains: torch.Tensor,
    v: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax over allowed keys and the sink. Finite everywhere, so its gradients are too."""
    seen = torch.where(allowed, scores, -torch.inf)
    top = torch.maximum(seen.amax(-1) if seen.shape[-1] else sinks, sinks)
    top = torch.where(top.isinf(), 0.0, top).detach()
    weights = torch.exp(torch.where(allowed, scores - top[..., None], 0.0))
    weights = torch.where(allowed, weights, 0.0)
    has_sink = ~sinks.isinf()
    extra = torch.where(has_sink, torch.exp(torch.where(has_sink, sinks, 0.0) - top), 0.0)
    total = weights.sum(-1) + extra
    none = total == 0
    safe = torch.where(none, 1.0, total)
    out = (weights * gains) @ v / safe[..., None]
    lse = torch.where(none, -torch.inf, top + torch.log(safe))
    return out, lse
