"""Steps without use: what a choice of parameters leaves out is never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Pool,
    Recurrence,
    Select,
    Step,
    Turn,
)
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import Vector, numbers, tensors


def needed(steps: list[Step], result: Vector) -> tuple[Step, ...]:
    """The steps that the result is made from, in their order."""
    names = set(_in_vector(result))
    kept: list[Step] = []
    for step in reversed(steps):
        if step.name in names:
            kept.append(step)
            names.update(_reads(step))
    return tuple(reversed(kept))


def _reads(step: Step) -> Iterator[str]:
    """The tensors, sets and numbers a step is made from, and inputs."""
    match step:
        case Pool(source=source):
            yield source
        case Assign(value=value) | Turn(value=value):
            yield from _in_vector(value)
        case Select():
            yield from (step.query, step.key)
            yield from _in_pattern(step.pattern)
            yield from _in_numbers(step.force)
            if step.gather is not None:
                yield from _in_pattern(step.gather.pattern)
        case Attention(branches=branches):
            for b in branches:
                yield from _in_branch(b)
        case _:
            assert_never(step)


def _in_branch(branch: Branch | Recurrence) -> Iterator[str]:
    yield branch.query
    yield from _in_pattern(branch.pattern)
    match branch:
        case Branch(keys=keys, values=values):
            yield from (*keys, *values)
        case Recurrence():
            yield from (branch.key, branch.value)
            yield from _in_numbers(branch.decay)
            yield from _in_numbers(branch.delta)
        case _:
            assert_never(branch)


def _in_pattern(pattern: PatternIR) -> Iterator[str]:
    """A step's pattern declares what it reads."""
    return (i.name for i in pattern.inputs)


def _in_vector(root: Vector) -> Iterator[str]:
    yield from tensors(root)
    for x in numbers(root):
        yield from _in_numbers(x)


def _in_numbers(root: Expr | None) -> Iterator[str]:
    if root is not None:
        yield from (x.name for x in walk(root) if isinstance(x, e.TokenInput | e.Table))
