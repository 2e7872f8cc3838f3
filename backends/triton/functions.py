"""The language's functions as Triton's."""

from __future__ import annotations

from attnlang.backends.triton.source.tree import Binary, Literal, Name, X, op
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind

FLOAT32, FLOAT64 = op("float32"), op("float64")
INT32, INT64 = op("int32"), op("int64")
UINT32 = op("uint32")

NOTHING = {Kind.BOOL: False, Kind.INT: 0, Kind.FLOAT: 0.0}
"""What an absent optional input reads as."""


def both(one: X | None, other: X) -> X:
    return other if one is None else one & other


def masked(value: X, factor: X | None, seen: X | None) -> X:
    """A value times a factor, 0 where nothing attends: either may be infinite there."""
    made = value if factor is None or factor == Literal(1.0) else value * factor
    return made if seen is None else op("where")(seen, made, 0.0)


def compare(symbol: e.CompareOp, one: X, two: X) -> X:
    return Binary(symbol, one, two)


def function(name: str, codes: list[X], floats: bool, double: bool) -> X:
    """A built-in. Those that differ from Triton's own are helpers of the module."""
    first = codes[0]
    match name:
        case "min" | "max":
            code = first
            for other in codes[1:]:
                code = op("minimum" if name == "min" else "maximum")(code, other)
            return code
        case "abs":
            return op("abs")(first)
        case "clamp":
            return op("maximum")(op("minimum")(first, codes[2]), codes[1])
        case "ceildiv":
            return -Name("floordiv")(-first, codes[1])
        case "floor" | "ceil" if floats:
            return op(name)(first).to(INT64)
        case "int" if floats:
            return first.to(INT64)
        case "round" if floats:
            return Name("round_even")(first).to(INT64)
        case "floor" | "ceil" | "round":
            return first
        case "int":
            return first.to(INT32)
        case "float":
            return first if floats else first.to(FLOAT64 if double else FLOAT32)
        case "exp" | "exp2" | "sigmoid" | "erf":
            return op(name)(first)
        case "log" | "log2" | "sqrt" | "tanh" | "ilog2" | "pow2":
            return Name(f"safe_{name}")(first)
        case _:
            raise AssertionError(f"no Triton form of `{name}`")
