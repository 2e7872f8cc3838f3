"""Evaluating expressions over arrays: one broadcast operation a node.

The same walk serves numpy (analysis, pictures) and torch (element masks of partial tiles);
what differs between the two is an :class:`ArrayOps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

import numpy as np

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.scalar import COMPARE
from attnlang.compiler.ir.share import shared
from attnlang.compiler.ir.traverse import kind_of

Array: TypeAlias = Any
"""A numpy array, a torch tensor, or a Python number standing for every place."""


@dataclass(frozen=True, slots=True)
class ArrayOps:
    """What an array library calls the operations the language needs.

    minimum is ``a if a < b else b``, maximum ``a if a > b else b``: what is NaN, and which of
    two equal values has the slope, is the same everywhere.
    """

    minimum: Callable[[Array, Array], Array]
    maximum: Callable[[Array, Array], Array]
    where: Callable[[Array, Array, Array], Array]
    functions: Mapping[str, Callable[[Array], Array]]
    to_int: Callable[[Array], Array]
    to_float: Callable[[Array], Array]


def _minimum(a: Array, b: Array) -> Array:
    # Of integers both give the same, and this one has vector instructions.
    return np.where(a < b, a, b) if _floats(a, b) else np.minimum(a, b)


def _maximum(a: Array, b: Array) -> Array:
    return np.where(a > b, a, b) if _floats(a, b) else np.maximum(a, b)


def _floats(a: Array, b: Array) -> bool:
    return np.result_type(a, b).kind == "f"


def _ilog2(x: Array) -> Array:
    x = np.maximum(np.asarray(x, dtype=np.int64), 1)
    # The exponent of a double, which is faster to read than to ask for.
    found = (np.asarray(x, dtype=np.float64).view(np.int64) >> 52) - 1023
    # Beyond 2**53 the float may have been rounded up to the next power.
    return found - (np.left_shift(np.int64(1), found) > x)


def _pow2(x: Array) -> Array:
    x = np.asarray(x, dtype=np.int64)
    return np.where(x < 0, 0, np.left_shift(np.int64(1), np.clip(x, 0, 62)))


def _log(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def safe(x: Array) -> Array:
        x = np.asarray(x, dtype=np.float64)
        return np.where(x > 0, f(np.where(x > 0, x, 1.0)), -np.inf)

    return safe


def _sigmoid(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _quiet(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def quiet(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return f(np.asarray(x, dtype=np.float64))

    return quiet


def _int(x: Array) -> Array:
    return np.trunc(np.asarray(x, dtype=np.float64)).astype(np.int64)


def _sqrt(x: Array) -> Array:
    x = np.asarray(x, dtype=np.float64)
    return np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)


NUMPY = ArrayOps(
    minimum=_minimum,
    maximum=_maximum,
    where=np.where,
    functions={
        "abs": np.abs,
        "ilog2": _ilog2,
        "pow2": _pow2,
        "floor": lambda x: np.floor(x).astype(np.int64),
        "ceil": lambda x: np.ceil(x).astype(np.int64),
        "round": lambda x: np.round(x).astype(np.int64),
        "exp": _quiet(np.exp),
        "exp2": _quiet(np.exp2),
        "log": _log(np.log),
        "log2": _log(np.log2),
        "sqrt": _sqrt,
        "tanh": np.tanh,
        "erf": np.vectorize(math.erf, otypes=[np.float64]),
        "sigmoid": _sigmoid,
    },
    to_int=_int,
    to_float=lambda x: np.asarray(x, dtype=np.float64),
)


def evaluate(
    root: Expr,
    leaf: Callable[[Expr], Array],
    ops: ArrayOps = NUMPY,
    special: Callable[[Expr], Array | None] | None = None,
) -> Array:
    """The value of ``root`` where ``leaf`` gives the arrays of its leaves.

    Table reads reach ``leaf`` as :class:`~attnlang.compiler.ir.expr.Table` nodes whose indices
    it must evaluate itself (it knows the table). Divisors must not be 0. special: the value of
    parts that it evaluates in a way of its own; None for all others.
    """
    return _evaluation(leaf, ops, special)(shared(root))


def evaluate_all(roots: Sequence[Expr], leaf: Callable[[Expr], Array]) -> list[Array]:
    """The values of several expressions over numpy arrays; what is one object in them, once."""
    value = _evaluation(leaf, NUMPY, None)
    return [value(x) for x in roots]


def _evaluation(
    leaf: Callable[[Expr], Array],
    ops: ArrayOps,
    special: Callable[[Expr], Array | None] | None,
) -> Callable[[Expr], Array]:
    """Gives the values of expressions, each object's once."""
    memo: dict[int, Array] = {}

    def go(x: Expr) -> Array:
        done = memo.get(id(x))
        if done is None and special is not None:
            done = special(x)
        if done is None:
            done = compute(x)
        memo[id(x)] = done
        return done

    def compute(x: Expr) -> Array:
        match x:
            case e.Int() | e.Float() | e.Bool():
                return x.value
            case e.Neg():
                return -go(x.operand)
            case e.Not():
                return _not(go(x.operand))
            case e.Arith():
                return _arith(x.op, go(x.left), go(x.right))
            case e.Compare():
                return COMPARE[x.op](go(x.left), go(x.right))
            case e.And() | e.Or():
                value = go(x.operands[0])
                for operand in x.operands[1:]:
                    other = go(operand)
                    value = value & other if isinstance(x, e.And) else value | other
                return value
            case e.Select():
                return ops.where(go(x.condition), go(x.then), go(x.otherwise))
            case e.Apply():
                return apply(x)
            case (
                e.Param() | e.Length() | e.Coord() | e.Index() | e.Symbol() | e.TokenInput()
                | e.Table() | e.InSegment()
            ):  # fmt: skip
                return leaf(x)
            case _:
                assert_never(x)

    def apply(x: e.Apply) -> Array:
        values = [go(a) for a in x.arguments]
        match x.function:
            case "min" | "max":
                join = ops.minimum if x.function == "min" else ops.maximum
                value = values[0]
                for other in values[1:]:
                    value = join(value, other)
                return value
            case "clamp":
                value, lo, hi = values
                return ops.maximum(lo, ops.minimum(value, hi))
            case "ceildiv":
                return -(-values[0] // values[1])
            case "int":
                return values[0] if kind_of(x.arguments[0]) is Kind.INT else ops.to_int(values[0])
            case "float":
                return ops.to_float(values[0])
            case "floor" | "ceil" | "round" if kind_of(x.arguments[0]) is Kind.INT:
                return values[0]
            case name:
                return ops.functions[name](values[0])

    return go


def _not(x: Array) -> Array:
    return (not x) if isinstance(x, bool) else ~x


def _arith(op: str, a: Array, b: Array) -> Array:
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
            return remainder(a, b)
        case _:
            return _divide(a, b)


def remainder(a: Array, b: Array) -> Array:
    """``a % b`` of integers. numpy divides an array by one number with vector instructions, but
    takes remainders one by one, five times slower."""
    if isinstance(a, np.ndarray) and isinstance(b, int):
        return a - a // b * b
    return a % b


def _divide(a: Array, b: Array) -> Array:
    """As floats divide everywhere: by 0 to infinity, 0 by 0 to NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(a, float) and isinstance(b, float):
            return float(np.float64(a) / b)
        return a / b
