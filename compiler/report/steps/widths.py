"""How many features the tensors of a program have, and how many heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.program import Assign, Attention, Pool, Recurrence, Select, Turn
from attnlang.compiler.ir.vector import (
    ONE_HOT,
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Tensor,
    Vector,
    is_number,
)
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.program import BoundProgram


def widths(made: BoundProgram) -> dict[str, int]:
    """Features of every tensor by name, where those of q, k and v are the head's."""
    found = dict.fromkeys(("q", "k", "v"), made.frame.head_dim)
    found |= {name: _shape(name, made)[-1] for name, _ in made.program.given}
    for step in made.program.steps:
        match step:
            case Pool(name=name, source=source):
                found[name] = found[source]
            case Assign(name=name, value=value):
                found[name] = width_of(value, found, made)
            case Turn(name=name, value=Tensor(name=source)):
                found[name] = made.tokens(made.spaces[source])
            case Turn(name=name):
                found[name] = made.frame.head_dim
            case Attention(name=name, branches=branches):
                first = branches[0]
                read = first.value if isinstance(first, Recurrence) else first.values[0]
                found[name] = found[read]
            case Select():
                pass
            case _:
                assert_never(step)
    return found


def heads_of(name: str, made: BoundProgram) -> int:
    """How many heads a tensor has: the queries', the keys', or its own."""
    heads = made.spaces[name].heads
    if heads is not None:
        return made.frame.heads if heads is Side.Q else made.frame.kv_heads
    shape = _shape(name, made)
    return shape[0] if len(shape) > 1 + len(made.spaces[name].axes) else 1


def _shape(name: str, made: BoundProgram) -> list[int]:
    """An input's dimensions behind the batch."""
    decl = next(i for i in made.frame.pattern.inputs if i.name == name)
    return input_shape(decl, None, made.frame, 1)[decl.dims[:1] == ("batch",) :]


def width_of(root: Vector, known: Mapping[str, int], made: BoundProgram) -> int:
    """Features of an expression; a number beside tensors has one, that all share."""

    def of(x: Vector) -> int:
        return width_of(x, known, made)

    if is_number(root):
        return 1
    match root:
        case Tensor(name=name):
            return known[name]
        case Scalar():
            return 1
        case Combine(left=left, right=right) | Choose(then=left, otherwise=right):
            return max(of(left), of(right))
        case Slice(start=start, stop=stop):
            return int(made.number(stop)) - int(made.number(start))
        case Project(table=table):
            return _shape(table, made)[-2]
        case Map(function="concat", arguments=arguments):
            return sum(of(x) for x in arguments)
        case Map(function=name, arguments=(Tensor(name=source),)) if name == ONE_HOT:
            return made.tokens(made.spaces[source])
        case Map(function="join_heads" | "split_heads" as way, arguments=(x,)):
            heads = made.frame.heads
            return of(x) * heads if way == "join_heads" else of(x) // heads
        case Map(arguments=arguments):
            return of(arguments[0])
        case _:
            assert_never(root)
