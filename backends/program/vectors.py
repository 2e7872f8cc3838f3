"""Tensor expressions: what ``return`` and named tensors are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.program.maps import (
    ARITHMETIC,
    MAPS,
    group_mean,
    join_heads,
    merge,
    one_hot,
    pinv,
    project,
    rotate,
    split_heads,
)
from attnlang.backends.program.numbers import per_token
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.vector import (
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Space,
    Tensor,
    Vector,
    tensors,
)
from attnlang.compiler.problem.program import BoundProgram


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of a program ``[B, H, tokens, D]``. lse: of the attention that made it."""

    x: torch.Tensor
    lse: torch.Tensor | None = None


def check_tokens(x: torch.Tensor, wanted: int, name: str) -> None:
    """Queries and keys stand for one another only where a call has as many of both.

    Raises ArgumentError.
    """
    if x.shape[2] != wanted:
        raise ArgumentError(
            f"`{name}` has {x.shape[2]} tokens where {wanted} are needed: "
            "this pattern takes as many queries as keys"
        )


class Vectors:
    """The values of vectors in one space. The arithmetic is that of float32 or better."""

    def __init__(
        self, bound: BoundProgram, space: Space, values: Mapping[str, Value], inputs: Inputs
    ) -> None:
        self.bound, self.space, self.values, self.inputs = bound, space, values, inputs
        x = values["q"].x
        self.dtype, self.device = accumulation_dtype(x.dtype), x.device
        self.width = 1

    def value(self, root: Vector) -> Value:
        """The value; numbers that vary with the channel have those of the tensors they stand by."""
        match root:
            case Tensor(name=name):
                value = self.values[name]
                check_tokens(value.x, self.bound.tokens(self.space), name)
                return Value(self._heads(value.x), value.lse)
            case Scalar(value=value):
                return Value(self.number(value).to(self.dtype))
            case Combine(op=op, left=left, right=right):
                one, two = self._pair(left, right)
                return Value(ARITHMETIC[op](one, two))
            case Choose(condition=condition, then=then, otherwise=otherwise):
                one, two = self._pair(then, otherwise)
                self.width = max(one.shape[-1], two.shape[-1])
                return Value(torch.where(self.number(condition), one, two))
            case Map(function="lse", arguments=(Tensor(name=name),)):
                lse = self.values[name].lse
                assert lse is not None
                return Value(lse[..., None])
            case Map(function="merge", arguments=arguments):
                return self._merge([self.value(a) for a in arguments])
            case Map(function="concat", arguments=arguments):
                return Value(torch.cat([self.value(a).x for a in arguments], -1))
            case Map(function="one_hot", arguments=(x,)):
                return Value(one_hot(self._wide(x)))
            case Map(function="join_heads", arguments=(x,)):
                return Value(join_heads(self._wide(x)))
            case Map(function="split_heads", arguments=(x,)):
                return Value(self._shares(self._wide(x)))
            case Map(function="group_mean", arguments=(x,)):
                return Value(group_mean(self._wide(x), self.bound.frame.kv_heads))
            case Map(function="pinv", arguments=(x,)):
                return Value(self._pinv(self._wide(x)))
            case Map(function="rotate", arguments=(x, angle)):
                return Value(self._rotate(self._wide(x), angle))
            case Map(function=function, arguments=arguments):
                return Value(MAPS[function](self._wide(arguments[0])))
            case Slice(operand=operand, start=start, stop=stop):
                return Value(self._slice(self.value(operand).x, start, stop))
            case Project(operand=operand, table=table, by_head=by_head):
                return Value(self._project(self._wide(operand), table, by_head))
            case _:
                assert_never(root)

    def _pair(self, left: Vector, right: Vector) -> tuple[torch.Tensor, torch.Tensor]:
        """Two vectors; the one of numbers alone comes second, when the width is known."""
        if not any(tensors(left)) and any(tensors(right)):
            two, one = self._pair(right, left)
            return one, two
        one = self._wide(left)
        self.width = one.shape[-1]
        return one, self._wide(right)

    def _rotate(self, x: torch.Tensor, angle: Vector) -> torch.Tensor:
        if x.shape[-1] % 2:
            raise ArgumentError(f"`rotate` turns pairs of features, and there are {x.shape[-1]}")
        self.width = x.shape[-1] // 2
        by = self._wide(angle)
        return rotate(x, by)

    def _shares(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % x.shape[1]:
            shares = f"{x.shape[-1]} features are no shares of {x.shape[1]} heads"
            raise ArgumentError(f"`split_heads`: {shares}")
        return split_heads(x)

    def _pinv(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != x.shape[-2]:
            raise ArgumentError(f"`pinv` takes a square matrix, not {list(x.shape[-2:])}")
        return pinv(x)

    def _slice(self, x: torch.Tensor, start: Expr, stop: Expr) -> torch.Tensor:
        first, last = int(self.bound.number(start)), int(self.bound.number(stop))
        if not 0 <= first <= last <= x.shape[-1]:
            raise ArgumentError(f"features {first} to {last} of a tensor that has {x.shape[-1]}")
        return x[..., first:last]

    def _project(self, x: torch.Tensor, name: str, by_head: bool) -> torch.Tensor:
        table = self.inputs.tables.get(name)
        if table is None:
            raise ArgumentError(f"`project` needs input `{name}`")
        if table.shape[-1] != x.shape[-1]:
            raise ArgumentError(
                f"input `{name}` has rows of {table.shape[-1]} features, the tensor {x.shape[-1]}"
            )
        return project(x, table, by_head)

    def _wide(self, root: Vector) -> torch.Tensor:
        return self.value(root).x.to(self.dtype)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """A vector for every query head where others of the expression have that."""
        wanted = self.bound.frame.heads if self.space.heads is Side.Q else x.shape[1]
        return x if x.shape[1] == wanted else x.repeat_interleave(wanted // x.shape[1], 1)

    def number(self, root: Expr) -> torch.Tensor:
        """``[B or 1, H or 1, tokens or 1, features or 1]``."""
        frame = self.bound.frame
        every = frame.heads if self.space.heads is Side.Q else frame.kv_heads
        heads, given = slice(0, every), self.inputs
        return per_token(root, self.bound, self.space, given, heads, every, self.width, self.device)

    def _merge(self, parts: list[Value]) -> Value:
        """One softmax over the keys of all: weights from the log-sum-exps."""
        if any(p.lse is None for p in parts):
            raise ArgumentError("`merge` takes the results of softmax attentions")
        outs = [p.x.to(self.dtype) for p in parts]
        return Value(*merge(outs, [p.lse for p in parts if p.lse is not None]))
