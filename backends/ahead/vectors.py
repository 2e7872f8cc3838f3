"""Tensor expressions of a program as Python text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from attnlang.backends.ahead.numbers import Written, table_name
from attnlang.backends.ahead.scope import Scope, local
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.program.maps import MAPS
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    ACROSS_HEADS,
    CHANNEL,
    GROUP_MEAN,
    ONE_HOT,
    PINV,
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Space,
    Tensor,
    Vector,
    scalars,
    tensors,
)


@dataclass(slots=True)
class Vectors:
    """Vectors of one space. name: of the step that they make."""

    scope: Scope
    shapes: Shapes
    space: Space
    name: str
    width: int = 1
    _numbers: Written | None = None

    def text(self, root: Vector) -> tuple[str, str | None]:
        """The value, in float32, and the log-sum-exp where it is one softmax."""
        read = [self.scope.closed(x) for x in scalars(root)]
        frame = self.scope.bound.frame
        own = self.space.heads is Side.Q
        self._numbers = self.scope.numbers(
            self.name, read, self.space, heads=None if own else (0, frame.kv_heads)
        )
        return self._value(root)

    def _value(self, root: Vector) -> tuple[str, str | None]:
        match root:
            case Tensor(name=name):
                wanted = self.shapes.of(root, self.space).heads
                x = local(name)
                if self.shapes.tensors[name].heads != wanted:
                    x = f"t.repeated({x}, {wanted})"
                return f"{x}.float()", f"{local(name)}_lse"
            case Scalar(value=value):
                return f"t.scalar({self._number(value)}, device)", None
            case Combine(op=op, left=left, right=right):
                one, two = self._pair(left, right)
                return f"({one} {op} {two})", None
            case Choose(condition=condition, then=then, otherwise=otherwise):
                one, two = self._pair(then, otherwise)
                self.width = self.shapes.of(root, self.space).width
                chosen = f"t.truth({self._number(condition)}, device)"
                return f"torch.where({chosen}, {one}, {two})", None
            case Map(function="lse", arguments=(Tensor(name=name),)):
                return f"{local(name)}_lse[..., None]", None
            case Map(function="merge", arguments=arguments):
                return self._merge([self._value(a) for a in arguments])
            case Map(function="concat", arguments=arguments):
                every = ", ".join(self._value(a)[0] for a in arguments)
                return f"torch.cat([{every}], -1)", None
            case Map(function="rotate", arguments=(x, angle)):
                turned = self._value(x)[0]
                self.width = self.shapes.of(x, self.space).width // 2
                return f"t.rotate({turned}, {self._value(angle)[0]})", None
            case Map(function=function, arguments=arguments):
                made = self._value(arguments[0])[0]
                if function in MAPS:
                    return f't.MAPS["{function}"]({made})', None
                if function in (ONE_HOT, PINV, *ACROSS_HEADS):
                    return f"t.{function}({made})", None
                if function == GROUP_MEAN:
                    return f"t.group_mean({made}, {self.scope.bound.frame.kv_heads})", None
                raise Unsupported(f"`{function}` in a directory", "triton", "attnlang")
            case Slice(operand=operand, start=start, stop=stop):
                number = self.scope.bound.number
                return f"{self._value(operand)[0]}[..., {number(start)}:{number(stop)}]", None
            case Project(operand=operand, table=table, by_head=by_head):
                made = self._value(operand)[0]
                return f"t.project({made}, {table_name(table)}, {by_head})", None
            case _:
                assert_never(root)

    def _pair(self, left: Vector, right: Vector) -> tuple[str, str]:
        """Numbers that vary with the channel have those of the tensors they stand by."""
        if not any(tensors(left)) and any(tensors(right)):
            two, one = self._pair(right, left)
            return one, two
        one = self._value(left)[0]
        self.width = self.shapes.of(left, self.space).width
        return one, self._value(right)[0]

    def _number(self, x: Expr) -> str:
        closed = self.scope.closed(x)
        written = self._numbers
        assert written is not None
        if any(isinstance(n, e.Coord) and n.axis == CHANNEL for n in walk(closed)):
            channels = f"t.channel({self.width}, device)"
            return replace(written, channels=channels)(closed)
        return written(closed)

    def _merge(self, found: list[tuple[str, str | None]]) -> tuple[str, str | None]:
        outs = ", ".join(x for x, _ in found)
        logs = ", ".join(str(x) for _, x in found)
        name = f"{self.name}_merged"
        self.scope.write(f"{name}, {name}_lse = t.merge([{outs}], [{logs}])")
        return name, f"{name}_lse"
