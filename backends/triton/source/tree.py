"""The tree of the little Python that kernels need.

    X = Name | Literal | Operation | Attribute | Call | Item | Listed | Unary | Binary
    Statement = Let | Update | Loop | While | When | Evaluate | Remark

Expressions combine with Python's own operators, so that what writes a kernel reads like one.
Names are checked when they are made: no text of a pattern can become code.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal as OneOf
from typing import TypeAlias, Union

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

BinaryOp: TypeAlias = OneOf[
    "+", "-", "*", "/", "//", "%", "<", "<=", ">", ">=", "==", "!=", "&", "|"
]
Operand: TypeAlias = Union["X", int, float, bool, None]


class X:
    """An expression."""

    __slots__ = ()

    def __add__(self, other: Operand) -> X:
        return Binary("+", self, lift(other))

    def __radd__(self, other: Operand) -> X:
        return Binary("+", lift(other), self)

    def __sub__(self, other: Operand) -> X:
        return Binary("-", self, lift(other))

    def __mul__(self, other: Operand) -> X:
        return Binary("*", self, lift(other))

    def __truediv__(self, other: Operand) -> X:
        return Binary("/", self, lift(other))

    def __rtruediv__(self, other: Operand) -> X:
        return Binary("/", lift(other), self)

    def __floordiv__(self, other: Operand) -> X:
        return Binary("//", self, lift(other))

    def __mod__(self, other: Operand) -> X:
        return Binary("%", self, lift(other))

    def __lt__(self, other: Operand) -> X:
        return Binary("<", self, lift(other))

    def __ge__(self, other: Operand) -> X:
        return Binary(">=", self, lift(other))

    def __gt__(self, other: Operand) -> X:
        return Binary(">", self, lift(other))

    def equal(self, other: Operand) -> X:
        """``self == other``, which Python keeps for comparing trees."""
        return Binary("==", self, lift(other))

    def differs(self, other: Operand) -> X:
        """``self != other``."""
        return Binary("!=", self, lift(other))

    def __and__(self, other: Operand) -> X:
        return Binary("&", self, lift(other))

    def __or__(self, other: Operand) -> X:
        return Binary("|", self, lift(other))

    def __neg__(self) -> X:
        return Unary("-", self)

    def __invert__(self) -> X:
        return Unary("~", self)

    def __getitem__(self, indices: tuple[slice | None, ...]) -> X:
        return Item(self, indices)

    def __call__(self, *arguments: Operand, **keywords: Operand) -> X:
        named = tuple((name, lift(value)) for name, value in keywords.items())
        return Call(self, tuple(lift(a) for a in arguments), named)

    def to(self, dtype: X) -> X:
        return Attribute(self, "to")(dtype)


@dataclass(frozen=True, slots=True)
class Name(X):
    text: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.text) or keyword.iskeyword(self.text):
            raise ValueError(f"{self.text!r} is not a name")


@dataclass(frozen=True, slots=True)
class Literal(X):
    value: int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class Operation(X):
    """What the machine's language has: how it is spelled, the printer says."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute(X):
    of: X
    name: str


@dataclass(frozen=True, slots=True)
class Call(X):
    function: X
    arguments: tuple[X, ...]
    keywords: tuple[tuple[str, X], ...] = ()


@dataclass(frozen=True, slots=True)
class Item(X):
    """``of[:, None]``: a new dimension wherever an index is None."""

    of: X
    indices: tuple[slice | None, ...]


@dataclass(frozen=True, slots=True)
class Listed(X):
    """``[a, b]``."""

    items: tuple[X, ...]


@dataclass(frozen=True, slots=True)
class Unary(X):
    op: OneOf["-", "~"]
    operand: X


@dataclass(frozen=True, slots=True)
class Binary(X):
    op: BinaryOp
    left: X
    right: X


@dataclass(frozen=True, slots=True)
class Let:
    name: Name
    value: X


@dataclass(frozen=True, slots=True)
class Update:
    """``name op= value``."""

    name: Name
    op: OneOf["+", "*"]
    value: X


@dataclass(frozen=True, slots=True)
class Loop:
    name: Name
    over: X
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class While:
    condition: X
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class When:
    condition: X
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Evaluate:
    value: X


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment of one line; characters that do not print are escaped."""

    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A kernel. fixed: parameters whose values must not make variants of the compiled code."""

    name: str
    doc: str
    parameters: tuple[Parameter, ...]
    fixed: tuple[str, ...]
    body: tuple[Statement, ...]


Statement: TypeAlias = Let | Update | Loop | While | When | Evaluate | Remark


def lift(value: Operand) -> X:
    return value if isinstance(value, X) else Literal(value)


def op(name: str) -> Operation:
    """An operation on tiles, or a type of their numbers."""
    return Operation(name)


def names(node: object) -> Iterator[str]:
    """Every name in an expression, a statement or several."""
    match node:
        case Name(text=text):
            yield text
        case tuple():
            for part in node:
                yield from names(part)
        case X() | Let() | Update() | Loop() | While() | When() | Evaluate():
            for f in fields(node):  # type: ignore[arg-type]
                yield from names(getattr(node, f.name))
        case _:
            pass


NEW = None
ALL = slice(None)


@dataclass(slots=True)
class Block:
    """Statements being written."""

    statements: list[Statement] = field(default_factory=list)

    def let(self, name: str, value: Operand) -> Name:
        target = Name(name)
        self.statements.append(Let(target, lift(value)))
        return target

    def update(self, target: Name, symbol: OneOf["+", "*"], value: X) -> None:
        self.statements.append(Update(target, symbol, value))

    def do(self, value: X) -> None:
        self.statements.append(Evaluate(value))

    def remark(self, text: str) -> None:
        self.statements.append(Remark(text))

    def loop(self, name: str, over: X, body: Block) -> None:
        self.statements.append(Loop(Name(name), over, body.done()))

    def repeat(self, condition: X, body: Block) -> None:
        self.statements.append(While(condition, body.done()))

    def when(self, condition: X, body: Block) -> None:
        self.statements.append(When(condition, body.done()))

    def extend(self, other: Block) -> None:
        self.statements.extend(other.statements)

    def done(self) -> tuple[Statement, ...]:
        return tuple(self.statements)
