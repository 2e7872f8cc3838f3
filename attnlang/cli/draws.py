"""Random tensors for a call: what people would pass, of a seed that is always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem

SEED = 0


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def draw_tensors(
    problem: Problem, head_dim: int, source: torch.Generator, batch: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k and v in float32."""

    def make(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(batch, heads, tokens, head_dim, generator=source)

    kv = problem.kv_heads
    return make(problem.heads, problem.q_len), make(kv, problem.k_len), make(kv, problem.k_len)


def tensor_of(value: Any) -> Any:
    """An array, or a pair of them, as tensors; numbers in float32."""
    if isinstance(value, tuple):
        return tuple(tensor_of(x) for x in value)
    found = torch.as_tensor(value)
    return found.float() if found.is_floating_point() else found


def draw_inputs(
    problem: Problem, given: Mapping[str, Any], source: torch.Generator
) -> dict[str, Any]:
    """The inputs that a call needs and that are not given."""
    needed = [i for i in problem.pattern.inputs if not i.optional and i.name not in given]
    return {i.name: _draw(i, problem, source) for i in needed}


def _draw(decl: InputDecl, problem: Problem, source: torch.Generator) -> Any:
    """Values an input may well have: a few ids, small numbers, fair coins."""

    def make(side: Side | None) -> torch.Tensor:
        shape = input_shape(decl, side, problem, 1)
        match decl.kind:
            case Kind.FLOAT:
                drawn = torch.randn(shape, generator=source)
            case Kind.INT:
                drawn = torch.randint(0, 4, shape, generator=source)
            case Kind.BOOL:
                drawn = torch.randint(0, 2, shape, generator=source) > 0
        drawn = -drawn.abs() if decl.nonpositive else drawn
        return drawn.sort(dim=-1).values if decl.sorted else drawn

    if len(decl.sides) < 2 or problem.q_len == problem.k_len:
        return make(decl.sides[0] if decl.sides else None)
    return make(Side.Q), make(Side.K)
