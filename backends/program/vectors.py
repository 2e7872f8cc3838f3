"""Tensor expressions: what ``return`` and named tensors are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.vector import Choose, Combine, Map, Scalar, Space, Tensor, Vector
from attnlang.compiler.problem.problem import Problem
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

    def value(self, root: Vector) -> Value:
        match root:
            case Tensor(name=name):
                value = self.values[name]
                check_tokens(value.x, self.bound.tokens(self.space), name)
                return Value(self._heads(value.x), value.lse)
            case Scalar(value=value):
                return Value(self.number(value).to(self.dtype))
            case Combine(op=op, left=left, right=right):
                return Value(_ARITHMETIC[op](self._wide(left), self._wide(right)))
            case Choose(condition=condition, then=then, otherwise=otherwise):
                where = self.number(condition)
                return Value(torch.where(where, self._wide(then), self._wide(otherwise)))
            case Map(function="lse", arguments=(Tensor(name=name),)):
                lse = self.values[name].lse
                assert lse is not None
                return Value(lse[..., None])
            case Map(function="merge", arguments=arguments):
                return self._merge([self.value(a) for a in arguments])
            case Map(function="concat", arguments=arguments):
                return Value(torch.cat([self.value(a).x for a in arguments], -1))
            case Map(function=function, arguments=arguments):
                return Value(_FUNCTIONS[function](self._wide(arguments[0])))
            case _:
                assert_never(root)

    def _wide(self, root: Vector) -> torch.Tensor:
        return self.value(root).x.to(self.dtype)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """A vector for every query head where others of the expression have that."""
        wanted = self.bound.frame.heads if self.space.heads is Side.Q else x.shape[1]
        return x if x.shape[1] == wanted else x.repeat_interleave(wanted // x.shape[1], 1)

    def number(self, root: Expr) -> torch.Tensor:
        """``[B or 1, H or 1, tokens or 1, 1]``."""
        frame, extents = self.bound.frame, self.bound.extents(self.space)
        heads = frame.heads if self.space.heads is Side.Q else frame.kv_heads
        problem = Problem(
            frame.pattern, heads, frame.kv_heads, frame.head_dim, extents, extents, ()
        )
        found = Pairs(problem, self.inputs, self.device).value(self.bound.close(root))
        found = found.reshape((1,) * (4 - found.dim()) + tuple(found.shape))
        return found if self.space.side is Side.Q else found.transpose(2, 3)

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


_ARITHMETIC: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.true_divide,
}


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1)


def _rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "cos": torch.cos,
    "sin": torch.sin,
    "softmax": lambda x: torch.softmax(x, -1),
    "normalize": _normalize,
    "rms_norm": _rms_norm,
}
