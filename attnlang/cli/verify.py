"""Running a pattern's op beside the reference: outputs and gradients, on random tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from attnlang.pattern import Pattern

TOKENS = 1024
"""The reference computes every pair: longer sequences are shortened."""

MEASURED = ("out", "lse", "dq", "dk", "dv")


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
    """Forward and backward of one backend and of the reference. heads: of queries and of keys."""
    chosen, problem = _problem(pattern, sizes, heads, head_dim)
    generator = torch.Generator().manual_seed(0)
    q, k, v = _tensors(problem, head_dim, generator)
    whole = dict(chosen) == dict(sizes)
    needed = [i for i in pattern.ir.inputs if not i.optional]
    inputs = {n: _tensor(x) for n, x in given.items()} if whole else {}
    made = {i.name: _random(i, problem, generator) for i in needed if i.name not in inputs}
    word = "random" if made else "given" if inputs else "none"
    grad = torch.randn(1, heads[0], problem.q_len, head_dim, generator=generator)
    results = [
        list(_run(pattern, name, (q, k, v), grad, chosen, {**inputs, **made}))
        for name in (backend, "reference")
    ]
    errors = {
        name: _error(x, y) for name, x, y in zip(MEASURED, results[0], results[1], strict=True)
    }
    return Verified(chosen, heads[0], word, errors)


def _problem(
    pattern: Pattern, sizes: Mapping[str, int], heads: tuple[int, int], head_dim: int
) -> tuple[Mapping[str, int], Problem]:
    """The problem, its axes halved until the reference can do it, as far as requirements allow."""

    def bound(at: Mapping[str, int]) -> Problem:
        return pattern.problem(at, heads[0], kv_heads=heads[1], head_dim=head_dim)

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


def _tensors(
    problem: Problem, head_dim: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def make(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(1, heads, tokens, head_dim, generator=generator)

    kv = problem.kv_heads
    return make(problem.heads, problem.q_len), make(kv, problem.k_len), make(kv, problem.k_len)


def _tensor(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_tensor(x) for x in value)
    found = torch.as_tensor(value)
    return found.float() if found.is_floating_point() else found


def _random(decl: InputDecl, problem: Problem, generator: torch.Generator) -> Any:
    """Values an input may well have: a few ids, small numbers, fair coins."""

    def make(side: Side | None) -> torch.Tensor:
        shape = input_shape(decl, side, problem, 1)
        match decl.kind:
            case Kind.FLOAT:
                drawn = torch.randn(shape, generator=generator)
            case Kind.INT:
                drawn = torch.randint(0, 4, shape, generator=generator)
            case Kind.BOOL:
                drawn = torch.randint(0, 2, shape, generator=generator) > 0
        return drawn.sort(dim=-1).values if decl.sorted else drawn

    if not decl.sides or problem.q_len == problem.k_len:
        return make(decl.sides[0] if decl.sides else None)
    return make(Side.Q), make(Side.K)


def _run(
    pattern: Pattern,
    backend: str,
    qkv: tuple[torch.Tensor, ...],
    grad: torch.Tensor,
    sizes: Mapping[str, int],
    inputs: Mapping[str, Any],
) -> Iterator[torch.Tensor]:
    leaves = [x.clone().requires_grad_() for x in qkv]
    op = pattern.compile(backend)
    out, lse = op(leaves[0], leaves[1], leaves[2], sizes, return_lse=True, **inputs)
    yield from (out.detach(), lse.detach())
    yield from torch.autograd.grad(out, leaves, grad)


def _error(x: torch.Tensor, y: torch.Tensor) -> float:
    """The largest difference where both are finite; infinite where only one is."""
    finite = torch.isfinite(x)
    if not torch.equal(finite, torch.isfinite(y)):
        return float("inf")
    scale = max(1.0, float(y[finite].abs().max())) if finite.any() else 1.0
    return float((x - y)[finite].abs().max()) / scale if finite.any() else 0.0
