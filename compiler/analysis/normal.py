"""Normal form: a predicate as a union of clauses, each a conjunction of literals.

Before splitting, min, max and abs around a key coordinate are opened into comparisons, so that
literals are as plain as they can be: ``abs(q.n - k.n) <= w`` becomes two half-spaces.
"""

from __future__ import annotations

from typing import TypeAlias

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.linear import Linear, difference
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.simplify import MIRRORED, NEGATED, simplify
from attnlang.compiler.ir.traverse import kind_of, rewrite, walk

Clause: TypeAlias = tuple[Expr, ...]
"""Literals that must all hold. The empty clause is always true."""

MAX_CLAUSES = 64


def clauses(predicate: Expr, limit: int = MAX_CLAUSES) -> tuple[Clause, ...] | None:
    """The disjunctive normal form, or None when it has more than ``limit`` clauses."""
    found = _union(predicate)
    return None if found is None or len(found) > limit else found


@remembered
def _union(predicate: Expr) -> tuple[Clause, ...] | None:
    return _split(simplify(open_extremes(predicate)), MAX_CLAUSES)


@remembered
def complement(predicate: Expr) -> Expr:
    """The negation, with negations pushed onto the literals."""
    return simplify(_negate(open_extremes(predicate)))


def _split(x: Expr, limit: int) -> tuple[Clause, ...] | None:
    match x:
        case e.Bool(value=True):
            return ((),)
        case e.Bool(value=False):
            return ()
        case e.Or():
            found: dict[Clause, None] = {}
            for operand in x.operands:
                part = _split(operand, limit)
                if part is None or len(found) + len(part) > limit:
                    return None
                found.update(dict.fromkeys(part))
            return tuple(found)
        case e.And():
            product: list[Clause] = [()]
            for operand in x.operands:
                part = _split(operand, limit)
                if part is None or len(product) * len(part) > limit:
                    return None
                product = [_join(left, right) for left in product for right in part]
            return tuple(dict.fromkeys(product))
        case _:
            return ((x,),)


def _join(left: Clause, right: Clause) -> Clause:
    return tuple(dict.fromkeys((*left, *right)))


def _negate(x: Expr) -> Expr:
    match x:
        case e.Bool():
            return e.Bool(not x.value)
        case e.And():
            return e.Or(tuple(_negate(o) for o in x.operands))
        case e.Or():
            return e.And(tuple(_negate(o) for o in x.operands))
        case e.Not():
            return x.operand
        case e.Compare() if kind_of(x.left) is not Kind.FLOAT:
            return _no_inequality(e.Compare(NEGATED[x.op], x.left, x.right, span=x.span))
        case _:
            return e.Not(x, span=x.span)


def _no_inequality(x: e.Compare) -> Expr:
    """a != b as a < b or a > b (integers)."""
    if x.op == "!=" and kind_of(x.left) is Kind.INT:
        return e.Or((e.Compare("<", x.left, x.right), e.Compare(">", x.left, x.right)))
    return x


def reads(x: Expr, side: Side) -> bool:
    """Does the expression depend on this side's token?"""
    return side in _sides(x)


@remembered
def _sides(x: Expr) -> frozenset[Side]:
    """The sides of the tokens that an expression reads."""
    return frozenset(
        node.side
        for node in walk(x)
        if isinstance(node, e.Coord | e.Index | e.TokenInput | e.InSegment)
    )


def open_extremes(predicate: Expr) -> Expr:
    """Comparisons of one min, max or abs that reads the key, as comparisons of its arguments."""

    def rule(x: Expr) -> Expr | None:
        if not isinstance(x, e.Compare) or kind_of(x.left) is not Kind.INT:
            return None
        opened = _open(x)
        return None if opened is None else rewrite(opened, rule)

    return rewrite(
        rewrite(predicate, rule),
        lambda x: _no_inequality(x) if isinstance(x, e.Compare) and x.op == "!=" else None,
    )


def _open(x: e.Compare) -> Expr | None:
    form = difference(x.left, x.right)
    for atom, c in form.terms:
        if abs(c) != 1 or not isinstance(atom, e.Apply) or not reads(atom, Side.K):
            continue
        # c * atom + rest op 0, so atom op' bound.
        rest = Linear(tuple(t for t in form.terms if t[0] != atom), form.constant)
        bound = expression(scaled(rest, -c))
        op = x.op if c == 1 else MIRRORED[x.op]
        made = _open_apply(atom, op, bound)
        if made is not None:
            return made
    return None


def _open_apply(atom: e.Apply, op: e.CompareOp, bound: Expr) -> Expr | None:
    if op in ("==", "!="):
        if atom.function not in ("min", "max", "abs", "clamp"):
            return None
        both = e.And((e.Compare("<=", atom, bound), e.Compare(">=", atom, bound)))
        return (
            both if op == "==" else e.Or((e.Compare("<", atom, bound), e.Compare(">", atom, bound)))
        )
    below = op in ("<", "<=")
    match atom.function:
        case "min":
            parts = tuple(e.Compare(op, a, bound) for a in atom.arguments)
            return e.Or(parts) if below else e.And(parts)
        case "max":
            parts = tuple(e.Compare(op, a, bound) for a in atom.arguments)
            return e.And(parts) if below else e.Or(parts)
        case "abs":
            a = atom.arguments[0]
            parts = (e.Compare(op, a, bound), e.Compare(op, e.Neg(a), bound))
            return e.And(parts) if below else e.Or(parts)
        case "clamp":
            value, low, high = atom.arguments
            inner = (e.Compare(op, value, bound), e.Compare(op, high, bound))
            middle = e.Or(inner) if below else e.And(inner)
            outer = e.Compare(op, low, bound)
            return e.And((middle, outer)) if below else e.Or((middle, outer))
        case _:
            return None


def scaled(form: Linear, factor: int) -> Linear:
    return Linear(tuple((a, c * factor) for a, c in form.terms), form.constant * factor)


def expression(form: Linear) -> Expr:
    """A linear form as an expression again."""
    total: Expr | None = None
    for atom, c in form.terms:
        term: Expr = atom if abs(c) == 1 else e.Arith("*", e.Int(abs(c)), atom)
        if total is None:
            total = term if c > 0 else e.Neg(term)
        else:
            total = e.Arith("+" if c > 0 else "-", total, term)
    if total is None:
        return e.Int(form.constant)
    if form.constant == 0:
        return total
    return e.Arith("+" if form.constant > 0 else "-", total, e.Int(abs(form.constant)))
