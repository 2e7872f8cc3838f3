"""The value of an expression whose leaves are known: the integer and float arithmetic, once.

This is the definition the vectorised evaluators are tested against.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr

Number: TypeAlias = int | float | bool
Leaves: TypeAlias = Mapping[Expr, Number]
COMPARE: Mapping[e.CompareOp, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""Of numbers, and element by element of arrays."""


def _safe(f: Callable[[float], float], low: float, at_or_below: float) -> Callable[[float], float]:
    return lambda x: f(x) if x > low else at_or_below


def _powers(f: Callable[[float], float]) -> Callable[[float], float]:
    def power(x: float) -> float:
        try:
            return f(x)
        except OverflowError:
            return math.inf

    return power


_exp, _exp2 = _powers(math.exp), _powers(math.exp2)


def _least(a: Number, b: Number) -> Number:
    return a if a < b else b


def _most(a: Number, b: Number) -> Number:
    return a if a > b else b


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": lambda *xs: functools.reduce(_least, xs),
    "max": lambda *xs: functools.reduce(_most, xs),
    "abs": abs,
    "clamp": lambda x, lo, hi: _most(lo, _least(x, hi)),
    "ceildiv": lambda a, b: -(-a // b),
    "ilog2": lambda x: max(int(x), 1).bit_length() - 1,
    "pow2": lambda x: 0 if x < 0 else 1 << min(int(x), 62),
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "int": int,
    "float": float,
    "exp": _exp,
    "exp2": _exp2,
    "log": _safe(math.log, 0.0, -math.inf),
    "log2": _safe(math.log2, 0.0, -math.inf),
    "sqrt": _safe(math.sqrt, 0.0, 0.0),
    "tanh": math.tanh,
    "erf": math.erf,
    "row_max": lambda x: x,
    "sigmoid": lambda x: 1.0 / (1.0 + _exp(-x)),
}


def value_of(x: Expr, leaves: Leaves | None = None) -> Number | None:
    """The value, or None when a leaf is unknown, a divisor is 0, or a float has no integer."""
    known = leaves or {}

    def go(x: Expr) -> Number | None:
        match x:
            case e.Int() | e.Float() | e.Bool():
                return x.value
            case e.And() | e.Or():
                return _logic(x, [go(o) for o in x.operands])
            case e.Not():
                inner = go(x.operand)
                return None if inner is None else not inner
            case e.Neg():
                inner = go(x.operand)
                return None if inner is None else -inner
            case e.Select():
                chosen = go(x.condition)
                return None if chosen is None else go(x.then if chosen else x.otherwise)
            case e.Arith() | e.Compare():
                left, right = go(x.left), go(x.right)
                if left is None or right is None:
                    return None
                return (
                    COMPARE[x.op](left, right)
                    if isinstance(x, e.Compare)
                    else _arith(x.op, left, right)
                )
            case e.Apply():
                arguments = [go(a) for a in x.arguments]
                if any(a is None for a in arguments):
                    return None
                if x.function == "ceildiv" and arguments[1] == 0:
                    return None
                try:
                    return FUNCTIONS[x.function](*arguments)
                except (OverflowError, ValueError):
                    return None
            case _:
                return known.get(x)

    return go(x)


def _logic(x: e.And | e.Or, values: list[Number | None]) -> bool | None:
    zero = isinstance(x, e.Or)
    if any(v is not None and bool(v) is zero for v in values):
        return zero
    return None if None in values else not zero


def _arith(op: str, a: Number, b: Number) -> Number | None:
    if op in ("//", "%", "/") and b == 0:
        return None
    try:
        match op:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "//":
                return a // b
            case "%":
                return a % b
            case _:
                return a / b
    except OverflowError:
        return None
