"""Interval arithmetic: ranges hold the true value, with Python numbers and with arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.compiler.analysis.boxes import ARRAYS
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.intervals import DivisorMayBeZero, Intervals, Ops
from attnlang.compiler.ir.scalar import Number, value_of
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.problem.bind import PYTHON
from tests.compiler.expressions import FLOATS, INTEGERS, TRUTHS, anything

Span = tuple[Number, Number]
W = e.TokenInput(Side.K, "w", Kind.FLOAT)
N = e.Coord(Side.Q, "n")


@st.composite
def spans(draw: st.DrawFn) -> tuple[dict[Expr, Span], dict[Expr, Number]]:
    """A range for every leaf, and a value inside each."""
    ranges: dict[Expr, Span] = {}
    values: dict[Expr, Number] = {}
    for x in (*INTEGERS, *FLOATS):
        number = st.integers(-9, 20)
        if x in FLOATS:
            number = st.floats(-9, 9, allow_subnormal=False) | st.sampled_from(
                [-math.inf, math.inf]
            )
        three = sorted(draw(st.tuples(number, number, number)))
        ranges[x], values[x] = (three[0], three[2]), three[1]
    for x in TRUTHS:
        value = draw(st.booleans())
        values[x] = value
        ranges[x] = draw(st.sampled_from([(int(value), int(value)), (0, 1)]))
    return ranges, values


def contains(lo: float, hi: float, value: Number, kind: Kind) -> bool:
    if lo != lo or hi != hi:
        return kind is Kind.FLOAT  # nothing is known
    if kind is Kind.FLOAT:
        if math.isnan(value):
            return False
        room = 1e-9 * max(1.0, abs(value)) if math.isfinite(value) else 0.0
        return lo - room <= value <= hi + room
    return lo <= value <= hi


@pytest.mark.parametrize("ops", [PYTHON, ARRAYS], ids=["numbers", "arrays"])
@settings(max_examples=400, deadline=None)
@given(x=anything(3), point=spans())
def test_ranges_hold_the_value(
    ops: Ops, x: Expr, point: tuple[dict[Expr, Span], dict[Expr, Number]]
) -> None:
    ranges, values = point

    def leaf(node: Expr) -> tuple[object, object]:
        lo, hi = ranges[node]
        return (lo, hi) if ops is PYTHON else (np.array([lo]), np.array([hi]))

    value = value_of(x, values)
    try:
        with np.errstate(all="ignore"):
            lo, hi = Intervals(ops, leaf).of(x)
    except (DivisorMayBeZero, OverflowError):
        return
    if value is None:
        return
    if math.isnan(value):
        assert lo != lo or hi != hi  # nothing is known
        return
    lo, hi = (v.item() if isinstance(v, np.ndarray | np.generic) else v for v in (lo, hi))
    if any(abs(v) > 2**62 for v in (lo, hi)) and kind_of(x) is not Kind.FLOAT:
        return  # the binder refuses such integers (AL410)
    assert contains(lo, hi, value, kind_of(x)), (lo, value, hi)


def number_range(x: Expr, w: Span = (-math.inf, math.inf), n: Span = (0, 9)) -> tuple[float, float]:
    return Intervals(PYTHON, lambda leaf: w if leaf == W else n).of(x)


def test_each_leaf_counts_once_in_a_comparison() -> None:
    k = e.Coord(Side.K, "n")
    x = e.Compare("<", e.Arith("-", N, k), e.Arith("+", e.Arith("-", N, k), e.Int(1)))
    assert number_range(x) == (1, 1)


@pytest.mark.parametrize(
    "x",
    [
        e.Arith("*", e.Apply("float", (N,)), W),  # 0 times infinity
        e.Arith("-", e.Apply("log", (e.Apply("float", (N,)),)), W),
        e.Arith("/", e.Float(1.0), W),  # a divisor that may be 0
        e.Arith("/", W, e.Apply("float", (N,))),
    ],
)
def test_an_unknown_float_decides_nothing(x: Expr) -> None:
    """Infinite bounds meet 0: no tile may be called empty or full for it."""
    for op in ("<", "<=", "==", "!=", ">", ">="):
        comparison = e.Compare(op, x, e.Float(1.0))
        assert number_range(comparison) == (0, 1)
        with np.errstate(all="ignore"):
            lo, hi = Intervals(
                ARRAYS,
                lambda leaf: (
                    (np.array([-math.inf]), np.array([math.inf]))
                    if leaf == W
                    else (np.array([0]), np.array([9]))
                ),
            ).of(comparison)
        assert (lo.item(), hi.item()) == (0, 1)


def test_a_nan_among_known_values_decides_nothing() -> None:
    nan = (math.nan, math.nan)
    for x in (W, e.Apply("min", (e.Float(0.0), W)), e.Apply("max", (W, e.Float(0.0)))):
        assert number_range(e.Compare("<", x, e.Float(1.0)), w=nan) == (0, 1)


@pytest.mark.parametrize("ops", [PYTHON, ARRAYS], ids=["numbers", "arrays"])
def test_clamping_the_unknown_bounds_it(ops: Ops) -> None:
    """min and max give their second argument in the place of a NaN, so clamp always ends inside."""
    unknown = e.Arith("-", W, e.Neg(e.Neg(W)))
    bounds = (
        (-math.inf, math.inf) if ops is PYTHON else (np.array([-math.inf]), np.array([math.inf]))
    )
    clamped = e.Apply("clamp", (unknown, e.Float(-2.0), e.Float(7.5)))
    least = e.Apply("min", (unknown, e.Float(3.0)))
    last = e.Apply("min", (e.Float(3.0), unknown))
    middle = e.Apply("max", (e.Float(3.0), unknown, e.Float(1.0)))
    with np.errstate(all="ignore"):
        ranges = Intervals(ops, lambda _: bounds)
        assert tuple(np.asarray(x).item() for x in ranges.of(e.Apply("int", (clamped,)))) == (
            -2.0,
            7.0,
        )
        assert tuple(np.asarray(x).item() for x in ranges.of(least)) == (-math.inf, 3.0)
        assert all(math.isnan(np.asarray(x).item()) for x in ranges.of(last))
        assert tuple(np.asarray(x).item() for x in ranges.of(middle)) == (1.0, math.inf)
    assert value_of(clamped, {W: math.nan}) == 7.5


@pytest.mark.parametrize("function", ["log", "log2", "sqrt", "exp", "tanh", "sigmoid", "abs"])
@pytest.mark.parametrize("ops", [PYTHON, ARRAYS], ids=["numbers", "arrays"])
def test_functions_of_the_unknown_are_unknown(ops: Ops, function: str) -> None:
    """log takes NaN for a number below 0, whose logarithm is -inf: not so as a bound."""
    difference = e.Arith("-", W, e.Neg(e.Neg(W)))  # infinity less infinity may be meant
    x = e.Compare("<", e.Apply(function, (difference,)), e.Float(0.5))
    bounds = (
        (-math.inf, math.inf) if ops is PYTHON else (np.array([-math.inf]), np.array([math.inf]))
    )
    with np.errstate(all="ignore"):
        lo, hi = Intervals(ops, lambda _: bounds).of(x)
    assert (np.asarray(lo).item(), np.asarray(hi).item()) == (0, 1)


def test_remainders_of_one_period_are_exact() -> None:
    x = e.Arith("%", N, e.Int(8))
    assert number_range(x, n=(9, 12)) == (1, 4)
    assert number_range(x, n=(6, 9)) == (0, 7)
    assert number_range(e.Arith("%", N, e.Int(-8)), n=(9, 12)) == (-7, -4)


def test_a_divisor_that_may_be_zero_is_named() -> None:
    x = e.Arith("//", e.Int(1), N)
    with pytest.raises(DivisorMayBeZero) as raised:
        number_range(x)
    assert raised.value.node == x
