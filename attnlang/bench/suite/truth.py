"""The reference's answer for a few queries, which costs little at any length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from attnlang.backends.call import Call
from attnlang.backends.reference.attend import attend

Tensor = torch.Tensor

TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""The largest error of an output or gradient, relative to its largest value, by dtype."""

PAIRS = 1 << 28
"""(head, query, key) that are looked at, at most: what 64-bit tensors of them cost is bounded."""


@dataclass(frozen=True, slots=True)
class Truth:
    """In float64, of a loss that sums these rows of the output with random weights.

    rows ``[R]``; out ``[B, H, R, D]``; weights: the gradient of the whole output, 0 elsewhere;
    grads: of q at the rows, of k and of v everywhere.
    """

    rows: Tensor
    out: Tensor
    weights: Tensor
    grads: tuple[Tensor, ...]


def truth(call: Call, count: int = 48) -> Truth:
    """Of a call's output and of its gradients, for ``count`` queries or fewer."""
    call = in_double(call)
    count = max(4, min(count, PAIRS // (call.q.shape[0] * call.q.shape[1] * call.k.shape[2])))
    rows = some(call.q.shape[2], count).to(call.q.device)
    out, _ = attend(call, rows)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.device)
    grads = torch.autograd.grad(out, (call.q, call.k, call.v), drawn)
    whole = drawn.new_zeros((*call.q.shape[:3], out.shape[3]))
    whole[:, :, rows] = drawn
    return Truth(rows, out.detach(), whole, (grads[0][:, :, rows], *grads[1:]))


def in_double(call: Call) -> Call:
    """The same call with leaves in float64."""
    q, k, v = (x.detach().double().requires_grad_() for x in (call.q, call.k, call.v))
    return replace(call, q=q, k=k, v=v)


def some(tokens: int, count: int) -> Tensor:
    """Places of some queries: the first, the last, and others at random, in order."""
    if tokens <= count:
        return torch.arange(tokens)
    generator = torch.Generator().manual_seed(2)
    middle = torch.randperm(tokens - 2, generator=generator)[: count - 2] + 1
    return torch.cat([torch.tensor([0, tokens - 1]), middle]).sort().values


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest value; infinite where it is no number."""
    found = found.detach().to(torch.float64)
    if not torch.isfinite(found).all():
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
