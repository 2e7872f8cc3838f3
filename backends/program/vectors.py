"""Tensor expressions: what ``return`` and named tensors are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Inputs, accumulation_dtype
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
                like = self._wide(x)
                places = torch.eye(like.shape[2], dtype=self.dtype, device=self.device)
                return Value(places.expand(*like.shape[:2], -1, -1))
            case Map(function="join_heads", arguments=(x,)):
                wide = self._wide(x)
                joined = wide.transpose(1, 2).flatten(2)[:, None]
                return Value(joined.expand(-1, wide.shape[1], -1, -1))
            case Map(function="split_heads", arguments=(x,)):
                return Value(_shares(self._wide(x)))
            case Map(function="pinv", arguments=(x,)):
                return Value(_pinv(self._wide(x)))
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
        a, b = x.chunk(2, -1)
        return torch.cat([a * by.cos() - b * by.sin(), a * by.sin() + b * by.cos()], -1)

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
        table = table.to(self.dtype) if by_head else table.to(self.dtype)[:, None]
        if by_head and x.shape[1] != table.shape[1]:
            x = x.repeat_interleave(table.shape[1] // x.shape[1], 1)
        return x @ table.transpose(-1, -2)

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
        logs = torch.stack([p.lse for p in parts if p.lse is not None])
        top = logs.amax(0)
        top = torch.where(top.isinf(), 0.0, top)
        weights = torch.exp(logs - top)
        total = weights.sum(0)
        none = total == 0
        safe = torch.where(none, 1.0, total)
        out = sum(w[..., None] * p.x.to(self.dtype) for w, p in zip(weights, parts, strict=True))
        assert isinstance(out, torch.Tensor)
        lse = torch.where(none, -torch.inf, top + torch.log(safe))
        return Value(out / safe[..., None], lse)


ARITHMETIC: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.true_divide,
}


def _shares(x: torch.Tensor) -> torch.Tensor:
    """``[B, H, N, H * D]`` -> ``[B, H, N, D]``: head h has the features from h * D on."""
    heads = x.shape[1]
    if x.shape[-1] % heads:
        raise ArgumentError(f"`split_heads`: {x.shape[-1]} features are no shares of {heads} heads")
    return torch.stack([x[:, h].chunk(heads, -1)[h] for h in range(heads)], 1)


def _pinv(x: torch.Tensor) -> torch.Tensor:
    """Six steps towards the inverse of ``[..., N, N]``, of the third order, from the transpose.

    Razavi et al. (2014), as Nystromformer has it. Raises ArgumentError.
    """
    if x.shape[-1] != x.shape[-2]:
        raise ArgumentError(f"`pinv` takes a square matrix, not {list(x.shape[-2:])}")
    one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    norms = [x.abs().sum(d).amax(-1)[..., None, None] for d in (-1, -2)]
    found = x.transpose(-1, -2) / (norms[0] * norms[1])
    for _ in range(6):
        near = x @ found
        found = 0.25 * found @ (13 * one - near @ (15 * one - near @ (7 * one - near)))
    return found


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1)


def _rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "cos": torch.cos,
    "sin": torch.sin,
    "softmax": lambda x: torch.softmax(x, -1),
    "normalize": _normalize,
    "rms_norm": _rms_norm,
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "total": lambda x: x.sum(-1, keepdim=True),
}
