"""Every simplification keeps the value of every expression, rule by rule and all together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.absorb import absorbed
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.scalar import Number, value_of
from attnlang.compiler.ir.simplify import RULES, simplify
from attnlang.compiler.ir.traverse import Rule, kind_of, rewrite, walk
from tests.compiler.expressions import COMPARISONS, anything, integers, leaf_values, truths

Q, K = e.Coord(Side.Q, "n"), e.Coord(Side.K, "n")
FLAG = e.TokenInput(Side.K, "flag", Kind.BOOL)
ZERO, ONE, TWO = e.Int(0), e.Int(1), e.Int(2)


def same(a: Number | None, b: Number | None) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return a == b and type(a) is type(b)


def units() -> st.SearchStrategy[Expr]:
    """Expressions of the forms that the rules look for."""
    i, b = integers(1), truths(1)
    literal = st.sampled_from([ZERO, ONE, e.Int(-1)])
    return st.one_of(
        st.builds(e.Arith, st.sampled_from(["+", "-", "*"]), i, literal),
        st.builds(e.Arith, st.sampled_from(["+", "-", "*"]), literal, i),
        i.map(lambda x: e.Arith("-", x, x)),
        st.builds(lambda op, x: e.Arith(op, x, ONE), st.sampled_from(["//", "%"]), i),
        i.map(lambda x: e.Neg(e.Neg(x))),
        st.builds(lambda op, x: e.Compare(op, x, x), st.sampled_from(["==", "!=", "<", ">="]), i),
        st.builds(lambda f, x: e.Apply(f, (x, x)), st.sampled_from(["min", "max"]), i),
        i.map(lambda x: e.Apply("abs", (e.Apply("abs", (x,)),))),
        b.map(lambda x: e.Not(e.Not(x))),
        st.builds(lambda make, x, y: make((x, e.Not(x), y)), st.sampled_from([e.And, e.Or]), b, b),
        st.builds(lambda make, x, y: e.Not(make((x, y))), st.sampled_from([e.And, e.Or]), b, b),
        st.builds(lambda make, x, y: make((x, make((y, x)))), st.sampled_from([e.And, e.Or]), b, b),
        st.builds(_difference, st.sampled_from([(Q, K), (K, Q)]), *(st.integers(-9, 9),) * 2),
        st.builds(lambda x, y: e.Select(x, y, y), b, i),
        st.builds(lambda t, x, y: e.Select(e.Bool(t), x, y), st.booleans(), b, b),
    )


def _difference(pair: tuple[Expr, Expr], constant: int, residue: int) -> Expr:
    apart = e.Arith("+", e.Arith("-", *pair), e.Int(constant))
    return e.Compare("==", e.Arith("%", apart, e.Int(4)), e.Int(residue))


def _bounds() -> st.SearchStrategy[Expr]:
    """Comparisons of few forms, so that many say the same, and unions of them."""
    side = st.sampled_from([Q, K, e.Arith("-", Q, K), e.Arith("-", K, Q), e.Neg(K), ZERO, ONE])
    one = st.builds(e.Compare, COMPARISONS, side, side)
    union = st.lists(one, min_size=1, max_size=3).map(lambda xs: e.Or(tuple(xs)))
    return st.one_of(one, union, truths(1))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
@settings(max_examples=150, deadline=None)
@given(x=st.one_of(units(), anything(2)), leaves=leaf_values())
def test_each_rule_keeps_the_value(rule: Rule, x: Expr, leaves: dict[Expr, Number]) -> None:
    y = rewrite(x, rule)
    before, after = value_of(x, leaves), value_of(y, leaves)
    assert kind_of(y) is kind_of(x)
    # A rule may drop what has no value (a branch never taken), never invent one that is wrong.
    assert before is None or same(before, after), (x, y)


@settings(max_examples=300, deadline=None)
@given(anything(3), leaf_values())
def test_all_rules_together_keep_the_value(x: Expr, leaves: dict[Expr, Number]) -> None:
    y = simplify(x)
    before, after = value_of(x, leaves), value_of(y, leaves)
    assert before is None or same(before, after)
    assert kind_of(y) is kind_of(x)
    assert simplify(y) is y
    assert len(list(walk(y))) <= 3 * len(list(walk(x)))


@settings(max_examples=300, deadline=None)
@given(st.lists(_bounds(), min_size=1, max_size=4), leaf_values())
def test_conjunctions_keep_the_value(parts: list[Expr], leaves: dict[Expr, Number]) -> None:
    x = e.And(tuple(parts))
    y = absorbed(x)
    assert value_of(y, leaves) is value_of(x, leaves)
    assert len(list(walk(y))) <= len(list(walk(simplify(x))))


def test_what_a_conjunction_says_twice_is_said_once() -> None:
    past = e.Compare("<=", K, Q)
    again = e.Compare("<=", ZERO, e.Arith("-", Q, K))
    far = e.Compare(">=", e.Arith("-", Q, K), e.Int(8))
    assert absorbed(e.And((past, again))) == past
    assert absorbed(e.And((past, e.Or((e.Compare(">", K, Q), far))))) == e.And((past, far))
    assert absorbed(e.And((past, e.Or((again, far))))) == past
    assert absorbed(e.And((past, e.Or((e.Compare("<", Q, K),))))) == e.FALSE


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (e.Arith("+", ONE, TWO), e.Int(3)),
        (e.Arith("*", e.Int(1 << 40), e.Int(1 << 40)), None),  # beyond 64 bits: left as it is
        (e.Arith("//", ONE, ZERO), None),
        (e.Arith("//", e.Int(-7), TWO), e.Int(-4)),
        (e.Arith("%", e.Int(-7), TWO), ONE),
        (e.Apply("floor", (e.Float(math.inf),)), None),
        (e.Apply("round", (e.Float(2.5),)), TWO),
        (e.Apply("int", (e.Bool(True),)), ONE),
        (e.Arith("*", Q, ZERO), ZERO),
        (e.Arith("-", Q, Q), ZERO),
        (e.Compare("<", Q, Q), e.FALSE),
        (e.And((FLAG, e.TRUE)), FLAG),
        (e.And((FLAG, e.Not(FLAG))), e.FALSE),
        (e.Not(e.Compare("<", Q, K)), e.Compare(">=", Q, K)),
        (e.Select(FLAG, e.TRUE, e.FALSE), FLAG),
        (
            _difference((Q, K), 0, 0),
            e.Compare("==", e.Arith("%", Q, e.Int(4)), e.Arith("%", K, e.Int(4))),
        ),
        (
            _difference((K, Q), 3, 1),
            e.Compare(
                "==", e.Arith("%", e.Arith("+", K, TWO), e.Int(4)), e.Arith("%", Q, e.Int(4))
            ),
        ),
        (e.Select(FLAG, e.FALSE, e.TRUE), e.Not(FLAG)),
    ],
)
def test_known_results(x: Expr, expected: Expr | None) -> None:
    assert simplify(x) == (x if expected is None else expected)


def test_a_float_comparison_is_not_turned_around() -> None:
    w = e.TokenInput(Side.K, "w", Kind.FLOAT)
    x = e.Not(e.Compare("<", w, e.Float(1.0)))  # NaN: not (w < 1) holds, w >= 1 does not
    assert simplify(x) == x
    assert simplify(e.Compare("==", w, w)) == e.Compare("==", w, w)
