"""The relation IR: typed expressions over one (batch, head, query, key) pair.

    Expr = Int | Float | Bool                 literals
         | Param(name, kind, axis)            a pattern parameter, or its entry for one axis
         | Length(side, axis)                 tokens of an axis on the query or key side
         | Coord(side, axis)                  a token's coordinate on an axis (or in a prefix)
         | Index(side)                        a token's place in the whole sequence, prefix first
         | Symbol(name)                       head, heads, kv_head, kv_heads, head_dim, score
         | TokenInput(side, name, kind)       a run-time tensor at a token
         | Table(name, kind, indices)         an entry of a table, 0 outside it
         | InSegment(side, segment)           is the token of the grid, a prefix or a suffix?
         | Neg | Arith | Compare | And | Or | Not | Select | Apply

Integers are mathematical (64 bits suffice: the binder proves it), ``//`` and ``%`` floor.
Floats are double. Every expression is total. Nodes are immutable and compare by content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias, get_args

from attnlang.compiler.source import NOWHERE, Span


class Kind(StrEnum):
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"


class Side(StrEnum):
    Q = "q"
    K = "k"


class SymbolName(StrEnum):
    HEAD = "head"
    HEADS = "heads"
    KV_HEAD = "kv_head"
    KV_HEADS = "kv_heads"
    HEAD_DIM = "head_dim"
    SCORE = "s"


GRID = "grid"
"""The segment of the tokens that lie on the axes."""

ArithOp: TypeAlias = Literal["+", "-", "*", "//", "%", "/"]
CompareOp: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


class _Known:
    """Room for a node's hash and kind, which follow from the whole expression below it. No copy
    takes them along: in another process strings have other hashes."""

    __slots__ = ("_hash", "_kind")
    _hash: int
    _kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(_Known):
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Int(Node):
    value: int


@dataclass(frozen=True, slots=True)
class Float(Node):
    value: float


@dataclass(frozen=True, slots=True)
class Bool(Node):
    value: bool


@dataclass(frozen=True, slots=True)
class Param(Node):
    name: str
    kind: Kind
    axis: str | None = None


@dataclass(frozen=True, slots=True)
class Length(Node):
    side: Side
    axis: str


@dataclass(frozen=True, slots=True)
class Coord(Node):
    side: Side
    axis: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    side: Side


@dataclass(frozen=True, slots=True)
class Symbol(Node):
    name: SymbolName


@dataclass(frozen=True, slots=True)
class TokenInput(Node):
    side: Side
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table(Node):
    name: str
    kind: Kind
    indices: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class InSegment(Node):
    side: Side
    segment: str


@dataclass(frozen=True, slots=True)
class Neg(Node):
    operand: Expr


@dataclass(frozen=True, slots=True)
class Arith(Node):
    op: ArithOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Node):
    op: CompareOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class And(Node):
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Expr


@dataclass(frozen=True, slots=True)
class Select(Node):
    """``then`` where ``condition`` holds, else ``otherwise``."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Apply(Node):
    """A built-in function (see :mod:`attnlang.compiler.ir.builtins`)."""

    function: str
    arguments: tuple[Expr, ...]


Expr: TypeAlias = (
    Int
    | Float
    | Bool
    | Param
    | Length
    | Coord
    | Index
    | Symbol
    | TokenInput
    | Table
    | InSegment
    | Neg
    | Arith
    | Compare
    | And
    | Or
    | Not
    | Select
    | Apply
)


def _once(own: Callable[[Any], int]) -> Callable[[Any], int]:
    """A node's hash, worked out when it is first asked for."""

    def answer(self: Any) -> int:
        try:
            found: int = self._hash
        except AttributeError:
            found = own(self)
            object.__setattr__(self, "_hash", found)
        return found

    return answer


for _node in get_args(Expr):
    _node.__hash__ = _once(_node.__hash__)

TRUE = Bool(True)
FALSE = Bool(False)
