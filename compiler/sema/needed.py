"""Steps without use: what a choice of parameters leaves out is never run."""

from __future__ import annotations

from typing import assert_never

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
from attnlang.compiler.ir.vector import Vector, tensors


def needed(steps: list[Step], result: Vector) -> tuple[Step, ...]:
    """The steps that the result or a selection is made from: a choice of parameters may leave
    others without use."""
    names = set(tensors(result))
    kept: list[Step] = []
    for step in reversed(steps):
        if not isinstance(step, Select) and step.name not in names:
            continue
        kept.append(step)
        match step:
            case Pool(source=source):
                names.add(source)
            case Assign(value=value) | Turn(value=value):
                names.update(tensors(value))
            case Select(query=query, key=key):
                names.update((query, key))
            case Attention(branches=branches):
                for b in branches:
                    names.update((b.query, *_sources(b)))
            case _:
                assert_never(step)
    return tuple(reversed(kept))


def _sources(branch: Branch | Recurrence) -> tuple[str, ...]:
    if isinstance(branch, Recurrence):
        return branch.key, branch.value
    return *branch.keys, *branch.values
