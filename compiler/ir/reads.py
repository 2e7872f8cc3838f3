"""What the steps of a program read, and which of them its result needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.pattern import Normaliser, PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Pool,
    Recurrence,
    Select,
    SizeOf,
    Step,
    Turn,
    weights_of,
)
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    COUNTS,
    SUMS,
    Map,
    Tensor,
    Vector,
    projections,
    scalars,
    tensors,
)


def needed(steps: Sequence[Step], result: Vector) -> tuple[Step, ...]:
    """The steps that lead to the result, in order: a choice leaves those of the others unread."""
    wanted = set(names_in(result))
    kept: list[Step] = []
    for step in reversed(steps):
        if step.name in wanted or weights_of(step.name) in wanted:
            wanted |= set(reads(step))
            kept.append(step)
    return tuple(reversed(kept))


def reads(step: Step) -> Iterator[str]:
    """The names of the tensors, sets, numbers and inputs that a step reads."""
    match step:
        case Pool(source=source, where=where, chosen=chosen):
            yield source
            yield from () if where is None else (i.name for i in where.inputs)
            yield from () if chosen is None else (chosen,)
        case Assign(value=value) | Turn(value=value):
            yield from names_in(value)
        case Attention(branches=branches):
            for branch in branches:
                yield from _branch(branch)
        case Select():
            yield from (step.query, step.key)
            if isinstance(step.rule.amount, SizeOf):
                yield step.rule.amount.name
            for pattern in (step.pattern, step.force):
                yield from () if pattern is None else (i.name for i in pattern.inputs)


def told_alone(steps: Sequence[Step], result: Vector) -> frozenset[str]:
    """The attentions of which only sums and counts of weights are read, not what they give."""
    told = (*SUMS, *COUNTS)
    read = set(names_in(result))
    for step in steps:
        if not (
            isinstance(step, Assign) and isinstance(step.value, Map) and step.value.function in told
        ):
            read |= set(reads(step))
    return frozenset(s.name for s in steps if isinstance(s, Attention) and s.name not in read)


def read_names(steps: Sequence[Step], result: Vector) -> set[str]:
    """All that the steps and the result read, by name."""
    return {name for step in steps for name in reads(step)} | set(names_in(result))


def _branch(branch: Branch | Recurrence) -> Iterator[str]:
    yield from (i.name for i in branch.pattern.inputs)
    match branch:
        case Branch():
            yield from (branch.query, *branch.keys, *branch.values)
            yield from (made.table for made in branch.products)
        case Recurrence():
            yield from (branch.query, branch.key, branch.value)
            for x in (branch.decay, branch.delta, branch.logit):
                yield from () if x is None else _numbers(x)


def names_in(root: Vector) -> Iterator[str]:
    """The names of all that a vector reads."""
    yield from tensors(root)
    yield from (x.table for x in projections(root))
    for x in scalars(root):
        yield from _numbers(x)


def _numbers(root: Expr) -> Iterator[str]:
    return (x.name for x in walk(root) if isinstance(x, e.TokenInput | e.Table))


def has_lse(pattern: PatternIR) -> bool:
    """Is the result one softmax, with a log-sum-exp?"""
    if pattern.program is None:
        return all(g.attend.normaliser is Normaliser.SOFTMAX for g in pattern.groups)
    return one_softmax(pattern.program.result, {s.name: s for s in pattern.program.steps})


def one_softmax(root: Vector, steps: Mapping[str, Step]) -> bool:
    """The same of a tensor that earlier steps made."""
    match root:
        case Map(function="merge"):
            return True
        case Tensor(name=name):
            match steps.get(name):
                case Attention(branches=branches):
                    return all(isinstance(b, Branch) and has_lse(b.pattern) for b in branches)
                case Assign(value=value):
                    return one_softmax(value, steps)
    return False
