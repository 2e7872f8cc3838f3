"""IR as text: the text reads back as an expression with the same value everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.compiler.check import prelude
from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import InputDecl, Per
from attnlang.compiler.ir.scalar import Number, value_of
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.sema.expressions import expression
from attnlang.compiler.sema.scope import AxisName, Context, TableName, TokenName, ValueName
from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.parse import parse

INT, FLOAT, BOOL = Kind.INT, Kind.FLOAT, Kind.BOOL
Q, K = Side.Q, Side.K
DOC = InputDecl("doc", INT, ("batch", "n"), (Q, K), sorted=False, optional=False)
NAMES = {
    "n": AxisName("n"),
    "w": ValueName(e.Param("w", INT)),
    "r": ValueName(e.Param("r", FLOAT)),
    "flag": ValueName(e.Param("flag", BOOL)),
    "per": TableName("per", INT, 1, Per.AXIS),
    "slope": TableName("slope", FLOAT, 1, Per.HEAD),
    "table": TableName("table", INT, 2),
    "doc": TokenName(DOC),
}
HEAD = e.Symbol(SymbolName.HEAD)
INT_LEAVES = [
    e.Param("w", INT),
    e.Param("per", INT, "n"),
    e.Length(K, "n"),
    e.Length(Q, "n"),
    *(e.Coord(side, axis) for side in Side for axis in ("n", "cls")),
    e.Index(Q),
    e.Index(K),
    *(e.Symbol(s) for s in SymbolName if s is not SymbolName.SCORE),
    e.TokenInput(Q, "doc", INT),
    e.TokenInput(K, "doc", INT),
    e.Table("table", INT, (HEAD, e.Coord(Q, "n"))),
]
FLOAT_LEAVES = [e.Param("r", FLOAT), e.Symbol(SymbolName.SCORE), e.Table("slope", FLOAT, (HEAD,))]
BOOL_LEAVES = [e.Param("flag", BOOL), *(e.InSegment(s, c) for s in Side for c in ("cls", "grid"))]


def read(text: str) -> Expr | None:
    """One expression of a pattern over ``n`` with a prefix ``cls``."""
    module = parse(Source("<text>", f"def f() -> int:\n    return {text}\n"))
    report = Report()
    functions = {f.name.id: f for f in prelude().functions}
    ctx = Context(
        report,
        functions,
        NAMES,
        q_axes=("n",),
        k_axes=("n",),
        segments={"cls": (Q, K)},
        score=e.Symbol(SymbolName.SCORE),
    )
    made = expression(module.functions[0].value, ctx)
    report.raise_if_errors()
    return made


def ints(depth: int) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(INT_LEAVES) | st.integers(-999, 999).map(e.Int)
    if depth == 0:
        return base
    a, b, f = ints(depth - 1), bools(depth - 1), floats(depth - 1)
    divisor = st.integers(1, 9).map(e.Int) | a.map(lambda x: e.Apply("max", (x, e.Int(1))))
    return st.one_of(
        base,
        st.builds(e.Neg, a),
        st.builds(e.Arith, st.sampled_from("+-*"), a, a),
        st.builds(e.Arith, st.sampled_from(["//", "%"]), a, divisor),
        st.builds(e.Select, b, a, a),
        st.builds(lambda x, y: e.Apply("min", (x, y)), a, a),
        st.builds(lambda x, y, z: e.Apply("clamp", (x, y, z)), a, a, a),
        st.builds(lambda x: e.Apply("int", (x,)), a | b | f),
        st.builds(lambda x, y: e.Apply("ceildiv", (x, y)), a, divisor),
    )


def floats(depth: int) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(FLOAT_LEAVES) | st.floats(-1e3, 1e300).map(e.Float)
    if depth == 0:
        return base
    a, b, i = floats(depth - 1), bools(depth - 1), ints(depth - 1)
    return st.one_of(
        base,
        st.builds(e.Neg, a),
        st.builds(e.Arith, st.sampled_from("+-*"), a, a),
        st.builds(e.Arith, st.just("/"), a, st.floats(0.5, 9.0).map(e.Float)),
        st.builds(e.Select, b, a, a),
        st.builds(lambda f, x: e.Apply(f, (x,)), st.sampled_from(["exp", "log", "tanh", "abs"]), a),
        st.builds(lambda x: e.Apply("float", (x,)), i),
    )


def bools(depth: int) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(BOOL_LEAVES) | st.booleans().map(e.Bool)
    if depth == 0:
        return base
    a, i, f = bools(depth - 1), ints(depth - 1), floats(depth - 1)
    op = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    several = st.lists(a, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        base,
        st.builds(e.Not, a),
        st.builds(e.And, several),
        st.builds(e.Or, several),
        st.builds(e.Select, a, a, a),
        st.builds(e.Compare, op, i, i),
        st.builds(e.Compare, op, f, f),
        st.builds(e.Compare, st.sampled_from(["==", "!="]), a, a),
    )


@st.composite
def leaf_values(draw: st.DrawFn) -> dict[Expr, Number]:
    values: dict[Expr, Number] = {x: draw(st.integers(-20, 50)) for x in INT_LEAVES}
    values |= {x: draw(st.floats(-9.0, 9.0)) for x in FLOAT_LEAVES}
    return values | {x: draw(st.booleans()) for x in BOOL_LEAVES}


@settings(deadline=None)
@given(st.one_of(ints(3), floats(3), bools(3)), leaf_values())
def test_text_has_the_same_value(x: Expr, leaves: dict[Expr, Number]) -> None:
    text = to_text(x)
    assert text == to_text(x)
    again = read(text)
    assert again is not None
    expected, found = value_of(x, leaves), value_of(again, leaves)
    if expected is not None:
        assert found is not None
        assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (e.Length(K, "n"), "len(n)"),
        (e.Length(Q, "n"), "len(q.n)"),
        (e.Index(Q), "q.index"),
        (e.Param("per", INT, "n"), "per[n]"),
        (e.Table("table", INT, (HEAD, e.Int(-1))), "table[head, -1]"),
        (e.Select(e.Bool(True), e.Int(1), e.Int(2)), "1 if true else 2"),
        (e.InSegment(K, "cls"), "k in cls"),
        (e.Neg(e.Arith("+", e.Int(1), e.Coord(Q, "n"))), "-(1 + q.n)"),
        (e.Float(-math.inf), "log(0.0)"),
        (e.Float(math.inf), "-log(0.0)"),
        (e.Float(math.nan), "log(0.0) - log(0.0)"),
    ],
)
def test_each_kind_of_leaf(x: Expr, text: str) -> None:
    assert to_text(x) == text
    assert isinstance(read(text), object)


def test_chains_and_calls_are_put_in_place() -> None:
    made = read("0 <= q.n - k.n < w and causal(n)")
    assert made is not None
    assert to_text(made) == "0 <= q.n - k.n and q.n - k.n < w and k.n <= q.n"
    assert isinstance(parse(Source("", f"def f():\n    return {to_text(made)}\n")), t.Module)
