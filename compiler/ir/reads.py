"""What the steps of a program read, and which of them its result needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Pool,
    Recurrence,
    Select,
    SizeOf,
    Step,
)
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import Vector, scalars, tensors


def needed(steps: Sequence[Step], result: Vector) -> tuple[Step, ...]:
    """The steps that lead to the result, in order: a choice leaves those of the others unread."""
    wanted = set(_vector(result))
    kept: list[Step] = []
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(reads(step))
            kept.append(step)
    return tuple(reversed(kept))


def reads(step: Step) -> Iterator[str]:
    """The names of the tensors, sets, numbers and inputs that a step reads."""
    match step:
        case Pool(source=source, chosen=chosen):
            yield source
            yield from () if chosen is None else (chosen,)
        case Assign(value=value):
            yield from _vector(value)
        case Attention(branches=branches):
            for branch in branches:
                yield from _branch(branch)
        case Select():
            yield from (step.query, step.key)
            if isinstance(step.rule.amount, SizeOf):
                yield step.rule.amount.name
            for pattern in (step.pattern, step.force):
                yield from () if pattern is None else (i.name for i in pattern.inputs)


def _branch(branch: Branch | Recurrence) -> Iterator[str]:
    yield from (i.name for i in branch.pattern.inputs)
    match branch:
        case Branch():
            yield from (branch.query, *branch.keys, *branch.values)
        case Recurrence():
            yield from (branch.query, branch.key, branch.value)
            for x in (branch.decay, branch.delta):
                yield from () if x is None else _numbers(x)


def _vector(root: Vector) -> Iterator[str]:
    yield from tensors(root)
    for x in scalars(root):
        yield from _numbers(x)


def _numbers(root: Expr) -> Iterator[str]:
    return (x.name for x in walk(root) if isinstance(x, e.TokenInput | e.Table))
