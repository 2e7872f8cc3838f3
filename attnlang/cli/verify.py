"""Running a pattern's op beside the reference: outputs and gradients, on random tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.cli.draws import draw_inputs, draw_tensors, generator, tensor_of
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.steps import problem_of
from attnlang.pattern import Pattern

TOKENS = 1024
"""The reference computes every pair: longer sequences are shortened."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Largest differences to the reference, float32, relative to its largest value (from 1).

    sizes: what it was run at. inputs: were run-time tensors "given", "random", or are there none?
    """

    sizes: Mapping[str, int]
    heads: int
    inputs: str
    errors: Mapping[str, float]

    @property
    def worst(self) -> float:
        return max(self.errors.values(), default=0.0)


def verify(
    pattern: Pattern,
    backend: str,
    sizes: Mapping[str, int],
    heads: tuple[int, int],
    head_dim: int,
    given: Mapping[str, Any],
) -> Verified:
    """Forward and backward of one backend and of the reference; of a step, of its whole program.

    heads: of queries and of keys.
    """
    pattern = pattern.whole
    chosen, problem = _problem(pattern, sizes, heads, head_dim)
    source = generator()
    q, k, v = draw_tensors(problem, head_dim, source)
    whole = dict(chosen) == dict(sizes)
    inputs = {n: tensor_of(x) for n, x in given.items()} if whole else {}
    made = draw_inputs(problem, inputs, source)
    word = "random" if made else "given" if inputs else "none"
    grad = torch.randn(1, heads[0], problem.q_len, head_dim, generator=source)
    results = [
        list(_run(pattern, name, (q, k, v), grad, chosen, {**inputs, **made}))
        for name in (backend, "reference")
    ]
    errors = {name: _error(x, y) for (name, x), (_, y) in zip(*results, strict=True)}
    return Verified(chosen, heads[0], word, errors)


def _problem(
    pattern: Pattern, sizes: Mapping[str, int], heads: tuple[int, int], head_dim: int
) -> tuple[Mapping[str, int], Problem]:
    """The problem, its axes halved until the reference can do it, as far as requirements allow."""

    def bound(at: Mapping[str, int]) -> Problem:
        return problem_of(pattern.ir, at, heads=heads[0], kv_heads=heads[1], head_dim=head_dim)

    chosen: Mapping[str, int] = dict(sizes)
    problem = bound(chosen)
    axes = {p for a in pattern.axes for p in (a, f"q.{a}", f"k.{a}")}
    while max(problem.q_len, problem.k_len) > TOKENS:
        longest = max((n for n in chosen if n in axes), key=lambda n: chosen[n])
        shorter = {**chosen, longest: -(-chosen[longest] // 2)}
        try:
            problem = bound(shorter)
        except PatternError:
            return chosen, problem
        chosen = shorter
    return chosen, problem


def _run(
    pattern: Pattern,
    backend: str,
    qkv: tuple[torch.Tensor, ...],
    grad: torch.Tensor,
    sizes: Mapping[str, int],
    inputs: Mapping[str, Any],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Output, lse where there is one, and gradients, by name."""
    leaves = [x.clone().requires_grad_() for x in qkv]
    op = pattern.compile(backend)
    out, lse = op.pair(leaves[0], leaves[1], leaves[2], sizes, None, 0, True, inputs)
    yield "out", out.detach()
    if lse is not None:
        yield "lse", lse.detach()
    grads = torch.autograd.grad(out, leaves, grad, allow_unused=True)
    for name, x, found in zip(("dq", "dk", "dv"), leaves, grads, strict=True):
        yield name, torch.zeros_like(x) if found is None else found


def _error(x: torch.Tensor, y: torch.Tensor) -> float:
    """The largest difference where both are finite; infinite where only one is."""
    finite = torch.isfinite(x)
    if not torch.equal(finite, torch.isfinite(y)):
        return float("inf")
    scale = max(1.0, float(y[finite].abs().max())) if finite.any() else 1.0
    return float((x - y)[finite].abs().max()) / scale if finite.any() else 0.0
