"""How many heads and features every tensor of a program has, from its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.program import Assign, Attention, Pool, Reduction, Select, Turn
from attnlang.compiler.ir.vector import (
    ACROSS_HEADS,
    ONE_HOT,
    READOUTS,
    TOTAL,
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Space,
    Tensor,
    Vector,
    lone,
)
from attnlang.compiler.problem.program import BoundProgram


@dataclass(frozen=True, slots=True)
class Shape:
    heads: int
    width: int


class Shapes:
    """tensors: of every tensor of the program, by name. head_dim: of q and k; value_dim: of v."""

    def __init__(self, bound: BoundProgram, value_dim: int) -> None:
        frame, self.bound = bound.frame, bound
        heads, keys, width = frame.heads, frame.kv_heads, frame.head_dim
        self.tensors = {
            "q": Shape(heads, width), "k": Shape(keys, width), "v": Shape(keys, value_dim),
            lone(Side.Q)[0]: Shape(heads, width), lone(Side.K)[0]: Shape(keys, width),
        }  # fmt: skip
        for name, space in bound.program.given:
            self.tensors[name] = self._given(frame.pattern.input(name), space)
        for step in bound.program.steps:
            match step:
                case Pool(chosen=str(chosen)):
                    made = next(s for s in bound.program.steps if s.name == chosen)
                    by_head = isinstance(made, Select) and made.by_head
                    source = self.tensors[step.source]
                    self.tensors[step.name] = Shape(
                        heads if by_head else source.heads, source.width
                    )
                case Pool():
                    self.tensors[step.name] = self.tensors[step.source]
                case Assign():
                    self.tensors[step.name] = self.of(step.value, step.space)
                case Turn():
                    found = self.of(step.value, step.made)
                    self.tensors[step.name] = Shape(found.heads, bound.tokens(step.made))
                case Attention(branches=branches):
                    last = branches[-1]
                    value = last.values[0] if hasattr(last, "values") else last.value
                    self.tensors[step.name] = Shape(heads, self.tensors[value].width)
                case Select():
                    pass
                case _:
                    assert_never(step)
            if isinstance(step, Pool) and step.reduction is Reduction.PUT:
                self.tensors[step.name] = Shape(heads, self.tensors[step.source].width)

    def of(self, root: Vector, space: Space) -> Shape:
        frame = self.bound.frame
        match root:
            case Tensor(name=name):
                found = self.tensors[name]
                heads = frame.heads if space.heads is Side.Q else found.heads
                return Shape(heads, found.width)
            case Scalar():
                return Shape(1, 1)
            case Combine(left=a, right=b) | Choose(then=a, otherwise=b):
                return self._joint(self.of(a, space), self.of(b, space))
            case Map(function="concat", arguments=arguments):
                parts = [self.of(a, space) for a in arguments]
                return Shape(max(p.heads for p in parts), sum(p.width for p in parts))
            case Map(function=name, arguments=arguments) if name in ACROSS_HEADS:
                found = self.of(arguments[0], space)
                joined = name == "join_heads"
                width = found.width * found.heads if joined else found.width // found.heads
                return Shape(found.heads, width)
            case Map(function=name) if name in READOUTS:
                return Shape(frame.heads, 1)
            case Map(function=name, arguments=arguments):
                found = self.of(arguments[0], space)
                if name == ONE_HOT:
                    return Shape(found.heads, self.bound.tokens(space))
                return Shape(found.heads, 1) if name == TOTAL else found
            case Slice(operand=a, start=start, stop=stop):
                width = int(self.bound.number(stop)) - int(self.bound.number(start))
                return Shape(self.of(a, space).heads, width)
            case Project(operand=a, table=table, by_head=by_head):
                rows = self._size(frame.pattern.input(table), -2)
                found = self.of(a, space)
                own = self._dimension(frame.pattern.input(table).dims[-3]) if by_head else 1
                return Shape(max(own, found.heads), rows)
            case _:
                assert_never(root)

    @staticmethod
    def _joint(a: Shape, b: Shape) -> Shape:
        return Shape(max(a.heads, b.heads), max(a.width, b.width))

    def _given(self, decl: InputDecl, space: Space) -> Shape:
        dims = [d for d in decl.dims if d != "batch"]
        own = len(dims) - 1 - len(space.axes)
        heads = self._dimension(dims[0]) if own else 1
        return Shape(heads, self._size(decl, -1))

    def _size(self, decl: InputDecl, place: int) -> int:
        return self._dimension(decl.dims[place])

    def _dimension(self, dim: str | Expr) -> int:
        if dim == "head":
            return self.bound.frame.heads
        if isinstance(dim, str):
            return next(
                self.bound.known[e.Length(s, dim)]
                for s in Side
                if e.Length(s, dim) in self.bound.known
            )
        return int(self.bound.number(dim))
