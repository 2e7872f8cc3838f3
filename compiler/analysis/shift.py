"""Translation invariance: does a predicate stay the same when query and key move together?"""

from __future__ import annotations

from attnlang.compiler.analysis.normal import expression
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.linear import Linear, difference, linear
from attnlang.compiler.ir.traverse import Rule, kind_of, rewrite, walk


def shift_invariant(predicate: Expr, by_query: int, by_key: int, axis: str | None = None) -> bool:
    """Is ``P(q + by_query, k + by_key) = P(q, k)`` proved, where tokens move along one axis?

    axis: None for predicates over one axis each, whatever they are called. False means not proved.
    Predicates that read run-time tensors are never invariant.
    """
    if any(isinstance(x, e.TokenInput | e.Table | e.Index) for x in walk(predicate)):
        return False
    read = {(x.side, x.axis) for x in walk(predicate) if isinstance(x, e.Coord)}
    if axis is None and len(read) > 2:
        return False

    def move(x: Expr) -> Expr | None:
        if isinstance(x, e.Coord) and axis in (None, x.axis):
            return e.Arith("+", x, e.Int(by_query if x.side is Side.Q else by_key))
        return None

    return stays(predicate, move)


def divisors(predicate: Expr) -> set[int]:
    """The numbers that it divides by: what is the same again, is so after a multiple of them."""
    return {
        x.right.value
        for x in walk(predicate)
        if isinstance(x, e.Arith) and x.op in ("//", "%") and isinstance(x.right, e.Int)
    } - {0}


def stays(predicate: Expr, move: Rule) -> bool:
    """Is the predicate proved to be the same with its leaves moved?"""
    return _normal(rewrite(predicate, move)) == _normal(predicate)


def _normal(x: Expr) -> Expr:
    """Sums in one fixed order, whole periods taken out of floor divisions and remainders."""
    return rewrite(x, _rule)


def _rule(x: Expr) -> Expr | None:
    match x:
        case e.Compare(
            op="==" | "!=",
            left=e.Arith(op="%", left=a, right=e.Int(value=m)),
            right=e.Arith(op="%", left=b, right=e.Int(value=n)),
        ) if m == n > 0:  # of one residue: the difference is a multiple
            apart = difference(a, b)
            inner = _sorted(Linear(apart.terms, apart.constant % m))
            return e.Compare(x.op, e.Arith("%", inner, e.Int(m)), e.Int(0))
        case e.Compare() if kind_of(x.left) is Kind.INT:
            return e.Compare(x.op, _sorted(difference(x.left, x.right)), e.Int(0))
        case e.Arith(op="//", left=a, right=e.Int(value=m)) if m > 0:
            form = linear(a)
            periods, rest = divmod(form.constant, m)
            inner = _sorted(Linear(form.terms, rest))
            return e.Arith("+", e.Arith("//", inner, e.Int(m)), e.Int(periods))
        case e.Arith(op="%", left=a, right=e.Int(value=m)) if m > 0:
            form = linear(a)
            return e.Arith("%", _sorted(Linear(form.terms, form.constant % m)), e.Int(m))
        case e.Arith(op="+" | "-" | "*") | e.Neg() if kind_of(x) is Kind.INT:
            form = linear(x)
            return None if form.atoms == (x,) else _sorted(form)
        case _:
            return None


def _sorted(form: Linear) -> Expr:
    return expression(Linear(tuple(sorted(form.terms, key=lambda t: repr(t[0]))), form.constant))
