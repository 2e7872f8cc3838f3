"""A bound pattern as a function of one (batch, head, query, key), for what traces such functions.

FlexAttention calls it with scalars: whatever depends on lengths alone is worked out in Python, the
rest in torch operations, and run-time tensors are read where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, assert_never

import numpy as np
import torch

from attnlang.backends.call import Inputs
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.problem.problem import Extent, Problem, grid_of

Tensor = torch.Tensor
Value: TypeAlias = Any
"""A tensor without dimensions, or a Python number."""

MaskMod: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_DTYPES = {Kind.BOOL: torch.bool, Kind.INT: torch.int64, Kind.FLOAT: torch.float64}
_BITS = 31
STRIP = 1 << 20
"""Pairs of a mask that are worked out at once."""


def mask_mod(problem: Problem, inputs: Inputs) -> MaskMod:
    """Does the query attend the key? ``(b, h, q, k)`` to a truth value."""

    def attends(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        pair = _Pair(problem, inputs, b, h, {Side.Q: q, Side.K: k})
        found: Value = False
        for group in problem.groups:
            here = pair.value(group.attend.where)
            if len(problem.groups) > 1:
                here = (h >= group.start) & (h < group.stop) & here
            found = found | here
        return found if isinstance(found, Tensor) else torch.full_like(q, found, dtype=torch.bool)

    return attends


def strips(
    problem: Problem, inputs: Inputs, batch: int, heads: int, device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """The mask of all pairs, some queries at a time: which, and bool ``[B, H, queries, Nk]``."""
    attends = mask_mod(problem, inputs)
    b, h, q, k = (
        torch.arange(count, device=device) for count in (batch, heads, problem.q_len, problem.k_len)
    )
    step = max(1, STRIP // (len(k) * heads * batch))
    for first in range(0, len(q), step):
        rows = slice(first, first + step)
        part = attends(b[:, None, None, None], h[:, None, None], q[rows, None], k)
        yield rows, part.expand(batch, heads, len(q[rows]), len(k))


class _Pair:
    """The values of expressions at one pair. Equal nodes are worked out once."""

    def __init__(
        self, problem: Problem, inputs: Inputs, b: Tensor, h: Tensor, at: dict[Side, Tensor]
    ) -> None:
        self.problem, self.inputs, self.b, self.h, self.at = problem, inputs, b, h, at
        self.known: dict[int, Value] = {}

    def value(self, x: Expr) -> Value:
        found = self.known.get(id(x))
        if found is None:
            found = self.known[id(x)] = self._value(x)
        return found

    def _value(self, x: Expr) -> Value:
        match x:
            case e.Int() | e.Float() | e.Bool():
                return x.value
            case e.Coord():
                return self._coordinate(x)
            case e.Index():
                return self.at[x.side]
            case e.InSegment():
                extents = self.problem.extents(x.side)
                return self._inside(next(t for t in extents if t.segment.name == x.segment), x.side)
            case e.Symbol(name=SymbolName.HEAD):
                return self.h
            case e.Symbol(name=SymbolName.KV_HEAD):
                return self.h // (self.problem.heads // self.problem.kv_heads)
            case e.TokenInput():
                return self._token_input(x)
            case e.Table():
                return self._table(x)
            case e.Neg():
                return -self.value(x.operand)
            case e.Not():
                operand = self.value(x.operand)
                return ~operand if isinstance(operand, Tensor) else not operand
            case e.And():
                return _fold(lambda a, b: a & b, [self.value(a) for a in x.operands])
            case e.Or():
                return _fold(lambda a, b: a | b, [self.value(a) for a in x.operands])
            case e.Select():
                return _where(
                    self.value(x.condition), self.value(x.then), self.value(x.otherwise)
                )  # fmt: skip
            case e.Arith():
                return _ARITHMETIC[x.op](self.value(x.left), self.value(x.right))
            case e.Compare():
                return _COMPARISON[x.op](self.value(x.left), self.value(x.right))
            case e.Apply():
                return _function(x.function, [self.value(a) for a in x.arguments])
            case e.Param() | e.Length() | e.Symbol():
                raise AssertionError(f"{x} is no part of a bound condition")
            case _:
                assert_never(x)

    def _inside(self, extent: Extent, side: Side) -> Value:
        if len(self.problem.extents(side)) == 1:
            return True
        return (self.at[side] >= extent.start) & (self.at[side] < extent.stop)

    def _coordinate(self, x: e.Coord) -> Value:
        """Tokens of other segments get some number: nothing looks at it."""
        extents = self.problem.extents(x.side)
        extent = next(t for t in extents if x.axis in t.axes)
        i = extent.axes.index(x.axis)
        inner = math.prod(extent.lengths[i + 1 :])
        place = self.at[x.side]
        place = place - extent.start if extent.start else place
        place = place // inner if inner > 1 else place
        place = place % extent.lengths[i] if i else place
        return place + extent.origin[i] if extent.origin[i] else place

    def _token_input(self, x: e.TokenInput) -> Value:
        given = self.inputs.tokens.get((x.name, x.side))
        if given is None:
            return _nothing(x.kind)
        extent = grid_of(self.problem.extents(x.side))
        inside = self._inside(extent, x.side)
        place = self.at[x.side]
        place = place if inside is True else (place - extent.start).clamp(0, extent.size - 1)
        b, h = (i if n > 1 else i * 0 for i, n in zip((self.b, self.h), given.shape, strict=False))
        return _where(inside, given[b, h, place], _nothing(x.kind))

    def _table(self, x: e.Table) -> Value:
        values = dict(self.problem.pattern.values)
        if x.name in values:
            entries: Any = values[x.name]
            entries = entries * self.problem.heads if len(entries) == 1 else entries
            table = torch.tensor(entries, dtype=_DTYPES[x.kind], device=self.h.device)[None]
        elif x.name in self.inputs.tables:
            table = self.inputs.tables[x.name]
        else:
            return _nothing(x.kind)
        inside: Value = True
        places = [self.b if table.shape[0] > 1 else self.b * 0]
        for i, size in zip(x.indices, table.shape[1:], strict=True):
            index = self.value(i)
            index = index if isinstance(index, Tensor) else self.b * 0 + index
            inside = inside & (index >= 0) & (index < size)
            places.append(index.clamp(0, max(size - 1, 0)))
        return _where(inside, table[tuple(places)], _nothing(x.kind))


def _nothing(kind: Kind) -> Value:
    return {Kind.BOOL: False, Kind.INT: 0, Kind.FLOAT: 0.0}[kind]


def _fold(join: Callable[[Value, Value], Value], values: list[Value]) -> Value:
    first, *rest = values
    for x in rest:
        first = join(first, x)
    return first


def _where(condition: Value, then: Value, otherwise: Value) -> Value:
    if not isinstance(condition, Tensor):
        return then if condition else otherwise
    return torch.where(condition, then, otherwise)


def _double(x: Value) -> Value:
    return x.to(torch.float64) if isinstance(x, Tensor) else float(x)


_ARITHMETIC: dict[str, Callable[[Value, Value], Value]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "/": lambda a, b: _double(a) / _double(b),
}
_COMPARISON: dict[str, Callable[[Value, Value], Value]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _function(name: str, values: list[Value]) -> Value:
    x = values[0]
    match name:
        case "min":
            return _fold(lambda a, b: _where(a < b, a, b), values)
        case "max":
            return _fold(lambda a, b: _where(a > b, a, b), values)
        case "clamp":
            upper = _where(x < values[2], x, values[2])
            return _where(values[1] > upper, values[1], upper)
        case "abs":
            return abs(x)
        case "ceildiv":
            return -(-x // values[1])
        case "ilog2":
            return sum(_where(x >= 2**bit, 1, 0) for bit in range(1, _BITS))
        case "pow2":
            if not isinstance(x, Tensor):
                return 0 if x < 0 else 2 ** min(x, 62)
            return torch.where(x < 0, 0, torch.ones_like(x) << x.clamp(0, 62))
        case "floor" | "ceil" | "round":
            if not isinstance(x, Tensor):
                return int(getattr(np, {"round": "rint"}.get(name, name))(x))
            return getattr(torch, name)(x).to(torch.int64)
        case "int":
            return x.to(torch.int64) if isinstance(x, Tensor) else int(x)
        case "float":
            return _double(x)
        case "log" | "log2":
            x = torch.as_tensor(x, dtype=torch.float64)
            return torch.where(x > 0, getattr(torch, name)(x.clamp_min(5e-324)), -math.inf)
        case "sqrt":
            return torch.sqrt(torch.as_tensor(_double(x)).clamp_min(0))
        case "exp" | "tanh" | "sigmoid" | "exp2" | "erf":
            return getattr(torch, name)(torch.as_tensor(_double(x)))
        case _:
            raise NotImplementedError(f"`{name}` is no function of one pair")
