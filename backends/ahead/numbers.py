"""Expressions of a pattern as Python text, with the functions of `runtime.numbers` as ``t``."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.ir.vector import CHANNEL

FUNCTIONS = {
    "min": "minimum", "max": "maximum", "int": "truncated", "float": "real", "round": "nearest",
}  # fmt: skip
"""Whose names in `runtime.numbers` are others."""
_TIGHT = (
    e.Coord, e.Index, e.InSegment, e.Symbol, e.TokenInput, e.Table, e.Length, e.Bool, e.Apply,
    e.Select, e.Not,
)  # fmt: skip
"""Whose text needs no brackets in another's."""


def safe(name: str) -> str:
    """A name of a pattern where Python may have another use for it."""
    return f"{name}_" if keyword.iskeyword(name) else name


def table_name(name: str) -> str:
    """The local variable of a table."""
    return f"table_{name}"


@dataclass(frozen=True, slots=True)
class Written:
    """How the expressions of one step read.

    length: the local name of an axis' length. values: parameters of one value for each head.
    counts: of heads and dimensions. first: tables that begin at the call's first query, and the
    index that says so. channels: what the channel is called where there is one. score: the name of
    the score.
    """

    length: Callable[[Side, str], str]
    counts: Mapping[SymbolName, int]
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    channels: str = ""
    score: str = "s"
    query: str = "i"
    key: str = "j"
    head: str = "head"

    def __call__(self, x: Expr) -> str:
        match x:
            case e.Int(value=value) | e.Bool(value=value):
                return str(value)
            case e.Float(value=value):
                return repr(value) if abs(value) < float("inf") else f'float("{value}")'
            case e.Length(side=side, axis=axis):
                return self.length(side, axis)
            case e.Coord(axis=axis) if axis == CHANNEL and self.channels:
                return self.channels
            case e.Coord(side=side, axis=name) | e.TokenInput(side=side, name=name):
                return f"{self._side(side)}.{safe(name)}"
            case e.Index(side=side):
                return f"{self._side(side)}.index"
            case e.InSegment(side=side, segment=name):
                return f"{self._side(side)}.in_{name}"
            case e.Symbol(name=SymbolName.HEAD):
                return self.head
            case e.Symbol(name=SymbolName.KV_HEAD):
                share = self.counts[SymbolName.HEADS] // self.counts[SymbolName.KV_HEADS]
                return f"({self.head} // {share})"
            case e.Symbol(name=SymbolName.SCORE):
                return self.score
            case e.Symbol(name=name):
                return str(self.counts[name])
            case e.Table(name=name, indices=indices):
                return self._table(name, [self(i) for i in indices])
            case e.Neg(operand=a):
                return f"-{self._inner(a)}"
            case e.Not(operand=a):
                return f"t.negated({self(a)})"
            case e.And(operands=parts):
                return " & ".join(self._inner(p) for p in parts)
            case e.Or(operands=parts):
                return " | ".join(self._inner(p) for p in parts)
            case e.Arith(op=op, left=a, right=b) | e.Compare(op=op, left=a, right=b):
                real = op == "/" or Kind.FLOAT in (kind_of(a), kind_of(b))
                left, right = (self._real(y) if real else self._inner(y) for y in (a, b))
                return f"{left} {op} {right}"
            case e.Select(condition=c, then=a, otherwise=b):
                real = kind_of(x) is Kind.FLOAT
                then, other = (self._real(y) if real else self(y) for y in (a, b))
                return f"t.choose({self(c)}, {then}, {other})"
            case e.Apply(function="row_max", arguments=(a,)):
                return f"t.row_max({self._real(a)}, allowed)"
            case e.Apply(function="abs", arguments=(a,)):
                return f"abs({self(a)})"
            case e.Apply(function=name, arguments=arguments):
                real = kind_of(x) is Kind.FLOAT and name != "float"
                made = ", ".join(self._real(a) if real else self(a) for a in arguments)
                return f"t.{FUNCTIONS.get(name, name)}({made})"
            case e.Param():
                raise AssertionError(f"{x} has a value once a pattern is bound")
            case _:
                assert_never(x)

    def _side(self, side: Side) -> str:
        return self.query if side is Side.Q else self.key

    def _table(self, name: str, indices: list[str]) -> str:
        table = table_name(name)
        if name in self.values:
            table = f"t.listed({self.values[name]!r}, device)"
        if name in self.first:
            place = self.first[name]
            indices[place] = f"({indices[place]}) - q_offset"
        return f"t.read({', '.join([table, *indices])})"

    def _inner(self, x: Expr) -> str:
        """As a part of a larger expression."""
        made = self(x)
        tight = isinstance(x, _TIGHT)
        plain = isinstance(x, e.Int | e.Float) and not made.startswith("-")
        return made if tight or plain else f"({made})"

    def _real(self, x: Expr) -> str:
        if kind_of(x) is Kind.FLOAT:
            return self._inner(x)
        return f"{x.value}.0" if isinstance(x, e.Int) and x.value >= 0 else f"t.real({self(x)})"
