"""Random IR expressions over a few leaves, and random values for the leaves."""

from __future__ import annotations

from hypothesis import strategies as st

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.scalar import Number

Q, K = Side.Q, Side.K
INTEGERS: tuple[Expr, ...] = (
    e.Coord(Q, "n"), e.Coord(K, "n"), e.Coord(Q, "n"), e.Coord(K, "n"), e.Index(Q), e.Index(K),
    e.Symbol(SymbolName.HEAD), e.TokenInput(Q, "doc", Kind.INT), e.TokenInput(K, "doc", Kind.INT),
)  # fmt: skip
FLOATS: tuple[Expr, ...] = (e.TokenInput(K, "w", Kind.FLOAT), e.Symbol(SymbolName.SCORE))
TRUTHS: tuple[Expr, ...] = (e.TokenInput(K, "flag", Kind.BOOL), e.InSegment(Q, "cls"))
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def divisors(a: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    small = st.integers(1, 9) | st.integers(-9, -1)
    return st.one_of(
        small.map(e.Int),
        small.map(e.Int),
        a.map(lambda x: e.Apply("max", (x, e.Int(1)))),
        a.map(lambda x: e.Apply("min", (x, e.Int(-2)))),
    )


def integers(depth: int, leaves: tuple[Expr, ...] = INTEGERS) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(leaves) | st.integers(-12, 12).map(e.Int)
    if depth == 0:
        return base
    a, b = integers(depth - 1, leaves), truths(depth - 1)
    one = st.sampled_from(["abs", "ilog2", "floor", "round"])
    return st.one_of(
        base,
        st.builds(e.Neg, a),
        st.builds(e.Arith, st.sampled_from("+-*"), a, a),
        st.builds(e.Arith, st.sampled_from(["//", "%"]), a, divisors(a)),
        st.builds(e.Select, b, a, a),
        st.builds(lambda f, xs: e.Apply(f, tuple(xs)), st.sampled_from(["min", "max"]), _some(a)),
        st.builds(lambda x, y, z: e.Apply("clamp", (x, y, z)), a, a, a),
        st.builds(lambda x, y: e.Apply("ceildiv", (x, y)), a, divisors(a)),
        st.builds(lambda f, x: e.Apply(f, (x,)), one, a),
        st.builds(lambda x: e.Apply("pow2", (e.Arith("%", x, e.Int(7)),)), a),
        st.builds(lambda x: e.Apply("int", (x,)), b),
    )


def floats(depth: int) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(FLOATS) | st.floats(-9, 9, allow_subnormal=False).map(e.Float)
    if depth == 0:
        return base
    a, b, i = floats(depth - 1), truths(depth - 1), integers(depth - 1)
    smooth = st.sampled_from(["exp", "exp2", "log", "log2", "sqrt", "tanh", "sigmoid", "abs"])
    return st.one_of(
        base,
        st.builds(e.Neg, a),
        st.builds(e.Arith, st.sampled_from("+-*/"), a, a),
        st.builds(e.Select, b, a, a),
        st.builds(lambda f, x: e.Apply(f, (x,)), smooth, a),
        st.builds(lambda x, y: e.Apply("min", (x, y)), a, a),
        st.builds(lambda x: e.Apply("float", (x,)), i),
    )


def truths(depth: int) -> st.SearchStrategy[Expr]:
    base = st.sampled_from(TRUTHS) | st.booleans().map(e.Bool)
    if depth == 0:
        return base
    a, i = truths(depth - 1), integers(depth - 1)
    return st.one_of(
        base,
        st.builds(e.Not, a),
        st.builds(e.And, _some(a).map(tuple)),
        st.builds(e.Or, _some(a).map(tuple)),
        st.builds(e.Select, a, a, a),
        st.builds(e.Compare, COMPARISONS, i, i),
        st.builds(e.Compare, COMPARISONS, i, i),
        st.builds(e.Compare, st.sampled_from(["==", "!="]), a, a),
    )


def anything(depth: int) -> st.SearchStrategy[Expr]:
    return st.one_of(integers(depth), floats(depth), truths(depth))


def _some(a: st.SearchStrategy[Expr]) -> st.SearchStrategy[list[Expr]]:
    return st.lists(a, min_size=2, max_size=3)


@st.composite
def leaf_values(draw: st.DrawFn) -> dict[Expr, Number]:
    values: dict[Expr, Number] = {x: draw(st.integers(-9, 20)) for x in INTEGERS}
    values |= {x: draw(st.floats(-9, 9, allow_subnormal=False)) for x in FLOATS}
    return values | {x: draw(st.booleans()) for x in TRUTHS}
