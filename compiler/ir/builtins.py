"""The built-in functions: names, argument and result kinds, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.ir.expr import Kind

NUMBER = (Kind.INT, Kind.FLOAT)


@dataclass(frozen=True, slots=True)
class Builtin:
    """``result`` None: the kind of the arguments (float as soon as one is)."""

    name: str
    arity: tuple[int, int]
    arguments: tuple[Kind, ...]
    result: Kind | None
    meaning: str


_INT, _FLOAT, _BOOL = (Kind.INT,), (Kind.FLOAT,), (Kind.BOOL,)

BUILTINS: dict[str, Builtin] = {
    b.name: b
    for b in (
        Builtin("min", (2, 8), NUMBER, None, "the smallest argument"),
        Builtin("max", (2, 8), NUMBER, None, "the largest argument"),
        Builtin("abs", (1, 1), NUMBER, None, "the magnitude"),
        Builtin("clamp", (3, 3), NUMBER, None, "clamp(x, lo, hi) = max(lo, min(x, hi))"),
        Builtin("ceildiv", (2, 2), _INT, Kind.INT, "the quotient rounded up"),
        Builtin("ilog2", (1, 1), _INT, Kind.INT, "floor of log2(x); 0 for x below 1"),
        Builtin("pow2", (1, 1), _INT, Kind.INT, "2 to the x; 0 for negative x"),
        Builtin("floor", (1, 1), NUMBER, Kind.INT, "the integer below"),
        Builtin("ceil", (1, 1), NUMBER, Kind.INT, "the integer above"),
        Builtin("round", (1, 1), NUMBER, Kind.INT, "the nearest integer, ties to even"),
        Builtin("int", (1, 1), (*NUMBER, Kind.BOOL), Kind.INT, "truncation toward 0; true is 1"),
        Builtin("float", (1, 1), NUMBER, Kind.FLOAT, "the same number as a float"),
        Builtin("exp", (1, 1), _FLOAT, Kind.FLOAT, "e to the x"),
        Builtin("exp2", (1, 1), _FLOAT, Kind.FLOAT, "2.0 to the x"),
        Builtin("log", (1, 1), _FLOAT, Kind.FLOAT, "natural logarithm; -inf for x at or below 0"),
        Builtin("log2", (1, 1), _FLOAT, Kind.FLOAT, "logarithm to base 2; -inf at or below 0"),
        Builtin("sqrt", (1, 1), _FLOAT, Kind.FLOAT, "square root; 0 below 0"),
        Builtin("tanh", (1, 1), _FLOAT, Kind.FLOAT, "hyperbolic tangent"),
        Builtin("erf", (1, 1), _FLOAT, Kind.FLOAT, "the error function"),
        Builtin("row_max", (1, 1), _FLOAT, Kind.FLOAT, "the largest x over the query's keys"),
        Builtin("sigmoid", (1, 1), _FLOAT, Kind.FLOAT, "1 / (1 + exp(-x))"),
    )
}
