"""Expressions over whole ``[B, H, Nq, Nk]`` tensors, written for reading, not for speed.

This is the meaning of the language. It shares no code with the evaluators that planning and
the fast backends use: what they compute is tested against this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

import torch

from attnlang.backends.call import Inputs
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.problem.problem import Extent, Problem


class Pairs:
    """Every (batch, head, query, key) of a problem, and the values of its expressions there.

    rows: places of the queries that are looked at, int64 ``[R]``; None: all of them.
    """

    def __init__(
        self,
        problem: Problem,
        inputs: Inputs,
        device: torch.device,
        rows: torch.Tensor | None = None,
    ) -> None:
        self.problem, self.inputs, self.device = problem, inputs, device
        self.rows = slice(None) if rows is None else rows
        self.head = torch.arange(problem.heads, device=device).view(1, -1, 1, 1)
        self.score: torch.Tensor | None = None
        self.seen: torch.Tensor | None = None
        self.whole: torch.Tensor | None = None
        """The pairs that attend; ``seen`` are those of them that a branch is chosen for."""

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` where pairs attend and 0 elsewhere: an infinite slope there times a gradient of 0
        would be NaN."""
        return x if self.seen is None or not x.requires_grad else torch.where(self.seen, x, 0.0)

    def value(self, x: Expr) -> torch.Tensor:
        """The value of ``x``, broadcastable to ``[B, H, Nq, Nk]``."""
        match x:
            case e.Int():
                return torch.tensor(x.value, device=self.device)
            case e.Float():
                return torch.tensor(x.value, dtype=torch.float64, device=self.device)
            case e.Bool():
                return torch.tensor(x.value, device=self.device)
            case e.Coord():
                return self._coordinate(x.side, x.axis)
            case e.Index():
                return self._along(
                    x.side, torch.arange(self._extents(x.side)[-1].stop, device=self.device)
                )
            case e.InSegment():
                inside = [
                    torch.full((t.size,), t.segment.name == x.segment)
                    for t in self._extents(x.side)
                ]
                return self._along(x.side, torch.cat(inside).to(self.device))
            case e.Symbol(name=SymbolName.HEAD):
                return self.head
            case e.Symbol(name=SymbolName.KV_HEAD):
                return self.head // (self.problem.heads // self.problem.kv_heads)
            case e.Symbol(name=SymbolName.SCORE):
                assert self.score is not None
                return self.hidden(self.score)
            case e.TokenInput():
                return self._token_input(x)
            case e.Table():
                return self._table(x)
            case e.Neg():
                return -self.value(x.operand)
            case e.Not():
                return ~self.value(x.operand)
            case e.And():
                return torch.stack(torch.broadcast_tensors(*map(self.value, x.operands))).all(0)
            case e.Or():
                return torch.stack(torch.broadcast_tensors(*map(self.value, x.operands))).any(0)
            case e.Select():
                return self._choose(x)
            case e.Arith():
                return _ARITHMETIC[x.op](self.value(x.left), self.value(x.right))
            case e.Compare():
                return _COMPARISON[x.op](self.value(x.left), self.value(x.right))
            case e.Apply(function="row_max", arguments=(operand,)):
                return self._row_max(operand)
            case e.Apply():
                return _function(x.function, [self.value(a) for a in x.arguments])
            case e.Param() | e.Length() | e.Symbol():
                raise AssertionError(f"{x} is a number once the pattern is bound")
            case _:
                assert_never(x)

    def _row_max(self, x: Expr) -> torch.Tensor:
        """Over the keys that attend; 0 for a query without any. All pairs of a row have it, so
        nothing that is hidden in one pair is hidden in its row."""
        whole, here = self.whole, self.seen
        assert whole is not None
        self.seen = whole
        values = torch.where(whole, self.value(x), -torch.inf)
        self.seen = here
        top = values.amax(-1, keepdim=True)
        return torch.where(top.isinf(), 0.0, top)

    def _choose(self, x: e.Select) -> torch.Tensor:
        """Each branch counts only where it is chosen."""
        chosen, seen = self.value(x.condition), self.seen
        if seen is not None:
            self.seen = seen & chosen
        then = self.value(x.then)
        if seen is not None:
            self.seen = seen & ~chosen
        otherwise = self.value(x.otherwise)
        self.seen = seen
        return torch.where(chosen, then, otherwise)

    def _extents(self, side: Side) -> tuple[Extent, ...]:
        return self.problem.extents(side)

    def _along(self, side: Side, values: torch.Tensor) -> torch.Tensor:
        return values[self.rows].view(1, 1, -1, 1) if side is Side.Q else values.view(1, 1, 1, -1)

    def _coordinate(self, side: Side, axis: str) -> torch.Tensor:
        """Tokens without this axis get 0: the checker has proved that nothing looks at them."""
        parts = []
        for extent in self._extents(side):
            values = torch.zeros(extent.size, dtype=torch.int64)
            if axis in extent.axes:
                i = extent.axes.index(axis)
                inner = math.prod(extent.lengths[i + 1 :])
                flat = torch.arange(extent.size)
                values = flat // max(inner, 1) % max(extent.lengths[i], 1) + extent.origin[i]
            parts.append(values)
        return self._along(side, torch.cat(parts).to(self.device))

    def _token_input(self, x: e.TokenInput) -> torch.Tensor:
        given = self.inputs.tokens.get((x.name, x.side))
        if given is None:
            return _nothing(x.kind, self.device)
        parts = []
        for extent in self._extents(x.side):
            if extent.segment.is_grid:
                parts.append(given)
            else:
                parts.append(given.new_zeros((*given.shape[:2], extent.size)))
        values = torch.cat(parts, dim=-1).to(_DTYPES[x.kind])
        if x.side is Side.Q:
            return self.hidden(values[:, :, self.rows, None])
        return self.hidden(values[:, :, None, :])

    def _table(self, x: e.Table) -> torch.Tensor:
        values = dict(self.problem.pattern.values)
        if x.name in values:
            entries = values[x.name]
            assert isinstance(entries, tuple)
            if len(entries) == 1:
                entries = entries * self.problem.heads
            table = torch.tensor(entries, dtype=_DTYPES[x.kind], device=self.device)[None]
        elif x.name in self.inputs.tables:
            table = self.inputs.tables[x.name].to(_DTYPES[x.kind])
        else:
            return _nothing(x.kind, self.device)
        if 0 in table.shape:
            return _nothing(x.kind, self.device)
        batch = torch.arange(table.shape[0], device=self.device).view(-1, 1, 1, 1)
        indices = [self.value(i) for i in x.indices]
        inside = torch.tensor(True, device=self.device)
        clamped = []
        for i, size in zip(indices, table.shape[1:], strict=True):
            inside = inside & (i >= 0) & (i < size)
            clamped.append(i.clamp(0, max(size - 1, 0)))
        read = table[(batch, *clamped)]
        zero = torch.zeros((), dtype=read.dtype, device=self.device)
        return self.hidden(torch.where(inside, read, zero))


def _nothing(kind: Kind, device: torch.device) -> torch.Tensor:
    """What an absent optional input reads as."""
    return torch.zeros((), dtype=_DTYPES[kind], device=device)


_DTYPES = {Kind.BOOL: torch.bool, Kind.INT: torch.int64, Kind.FLOAT: torch.float64}
_ARITHMETIC: dict[str, Callable[..., torch.Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "//": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "%": torch.remainder,
    "/": torch.true_divide,
}
_COMPARISON = {
    "==": torch.eq,
    "!=": torch.ne,
    "<": torch.lt,
    "<=": torch.le,
    ">": torch.gt,
    ">=": torch.ge,
}


def _function(name: str, values: list[torch.Tensor]) -> torch.Tensor:
    x = values[0]
    match name:
        case "min" | "max":
            for other in values[1:]:
                x = (
                    torch.where(x < other, x, other)
                    if name == "min"
                    else torch.where(x > other, x, other)
                )
            return x
        case "clamp":
            low, high = values[1], values[2]
            x = torch.where(x < high, x, high)
            return torch.where(low > x, low, x)
        case "abs":
            return x.abs()
        case "ceildiv":
            return -torch.div(-x, values[1], rounding_mode="floor")
        case "ilog2":
            result = torch.zeros_like(x)
            for bit in range(1, 63):
                result = torch.where(x >= 2**bit, bit, result)
            return result
        case "pow2":
            return torch.where(
                x < 0, 0, torch.bitwise_left_shift(torch.ones_like(x), x.clamp(0, 62))
            )
        case "floor" | "ceil" | "round":
            rounded: torch.Tensor = getattr(torch, name)(x)
            return rounded.to(torch.int64)
        case "int":
            return x.to(torch.int64)
        case "float":
            return x.to(torch.float64)
        case "exp" | "tanh" | "sigmoid" | "exp2" | "erf":
            mapped: torch.Tensor = getattr(torch, name)(x)
            return mapped
        case "log" | "log2":
            return torch.where(x > 0, getattr(torch, name)(torch.where(x > 0, x, 1.0)), -math.inf)
        case "sqrt":
            return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, 1.0)), 0.0)
        case _:
            raise AssertionError(name)
