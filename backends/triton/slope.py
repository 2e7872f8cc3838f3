"""The slope of a score edit: its derivative by the score ``s``, or by a tensor's entry."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, SymbolName
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import kind_of, walk

ZERO, ONE = e.Float(0.0), e.Float(1.0)
TWO_BY_ROOT_PI = 1.1283791670955126
SCORE = e.Symbol(SymbolName.SCORE)


def slope(score: Expr, by: Expr = SCORE) -> Expr:
    """``d score / d by``, simplified.

    by: the score before its edit, a leaf of it, or a ``row_max``, which what it is taken of does
    not move here: see :mod:`attnlang.backends.triton.shares`.
    """
    return simplify(_slope(score, by))


def _slope(x: Expr, by: Expr) -> Expr:
    if x == by:
        return ONE
    if not _moves(x, by):
        return ZERO
    match x:
        case e.Neg(operand=a):
            return e.Neg(_slope(a, by))
        case e.Arith(op="+" | "-" as op, left=a, right=b):
            return _sum(op, _slope(a, by), _slope(b, by))
        case e.Arith(op="*", left=a, right=b):
            return _sum("+", _times(_slope(a, by), b), _times(a, _slope(b, by)))
        case e.Arith(op="/", left=a, right=b):
            by_a = e.Arith("/", _slope(a, by), b)
            if not _moves(b, by):
                return by_a
            return e.Arith("-", by_a, e.Arith("/", _times(x, _slope(b, by)), b))
        case e.Select(condition=c, then=a, otherwise=b):
            return e.Select(c, _slope(a, by), _slope(b, by))
        case e.Apply(function=name, arguments=(a,)):
            return _times(_outer(name, a, x), _slope(a, by))
        case e.Apply(function="min" | "max" as name, arguments=(a, b)):
            first = e.Compare("<=" if name == "min" else ">=", a, b)
            return e.Select(first, _slope(a, by), _slope(b, by))
        case e.Apply(function="min" | "max" as name, arguments=(a, *more)):
            return _slope(e.Apply(name, (a, e.Apply(name, tuple(more)))), by)
        case e.Apply(function="clamp", arguments=(a, low, high)):
            return _slope(e.Apply("max", (low, e.Apply("min", (a, high)))), by)
        case _:
            return ZERO  # floor, round and the like are flat


def _moves(x: Expr, by: Expr) -> bool:
    return kind_of(x) is Kind.FLOAT and any(n == by for n in walk(x))


def _outer(name: str, a: Expr, value: Expr) -> Expr:
    """The slope of a function of one argument, in terms of its argument or its value."""
    match name:
        case "exp":
            return value
        case "exp2":
            return _times(value, e.Float(0.6931471805599453))
        case "log":
            return e.Arith("/", ONE, a)
        case "log2":
            return e.Arith("/", e.Float(1.4426950408889634), a)
        case "sqrt":
            return e.Arith("/", e.Float(0.5), value)
        case "erf":
            return _times(e.Apply("exp", (e.Neg(_times(a, a)),)), e.Float(TWO_BY_ROOT_PI))
        case "tanh":
            return e.Arith("-", ONE, _times(value, value))
        case "sigmoid":
            return _times(value, e.Arith("-", ONE, value))
        case "abs":
            zero = e.Compare(">=", a, ZERO)
            return e.Select(zero, ONE, e.Float(-1.0))
        case "float":
            return ONE
        case _:
            return ZERO


def _sum(op: e.ArithOp, a: Expr, b: Expr) -> Expr:
    if b == ZERO:
        return a
    if a == ZERO:
        return b if op == "+" else e.Neg(b)
    return e.Arith(op, a, b)


def _times(a: Expr, b: Expr) -> Expr:
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    return a if b == ONE else e.Arith("*", a, b)
