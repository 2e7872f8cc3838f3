"""Simplification: named local rules, each with the identity it rests on.

Every rule keeps the value of every expression at every point; tests/compiler check each one
against evaluation. ``simplify`` applies all of them bottom-up until nothing changes.
"""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.linear import linear
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.traverse import Rule, children, kind_of, rewrite

NEGATED: dict[e.CompareOp, e.CompareOp] = {
    "==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
}  # fmt: skip
MIRRORED: dict[e.CompareOp, e.CompareOp] = {
    "==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<=",
}  # fmt: skip
_LITERAL = (e.Int, e.Float, e.Bool)


def fold_constants(x: Expr) -> Expr | None:
    """An operation on literals is its value (integers: while it fits 64 bits)."""
    below = children(x)
    if not below or not all(isinstance(c, _LITERAL) for c in below):
        return None
    from attnlang.compiler.ir.scalar import value_of

    value = value_of(x)
    if value is None:
        return None
    if isinstance(value, bool):
        return e.Bool(value, span=x.span)
    if kind_of(x) is Kind.FLOAT:
        return e.Float(float(value), span=x.span)
    return e.Int(int(value), span=x.span) if abs(value) < 1 << 63 else None


def flatten_logic(x: Expr) -> Expr | None:
    """(a and b) and c = a and b and c; repeated operands count once; and/or of one is itself."""
    match x:
        case e.And() | e.Or():
            flat: list[Expr] = []
            for operand in x.operands:
                flat.extend(operand.operands if type(operand) is type(x) else (operand,))
            unique = tuple(dict.fromkeys(flat))
            if len(unique) == 1:
                return unique[0]
            return replace(x, operands=unique) if unique != x.operands else None
        case _:
            return None


def logic_units(x: Expr) -> Expr | None:
    """true and a = a; false and a = false; false or a = a; true or a = true."""
    match x:
        case e.And() | e.Or():
            unit, zero = (e.TRUE, e.FALSE) if isinstance(x, e.And) else (e.FALSE, e.TRUE)
            if zero in x.operands:
                return zero
            kept = tuple(o for o in x.operands if o != unit)
            if len(kept) == len(x.operands):
                return None
            return replace(x, operands=kept) if kept else unit
        case _:
            return None


def complement(x: Expr) -> Expr | None:
    """a and not a = false; a or not a = true."""
    match x:
        case e.And() | e.Or():
            seen = set(x.operands)
            if any(isinstance(o, e.Not) and o.operand in seen for o in x.operands):
                return e.FALSE if isinstance(x, e.And) else e.TRUE
            return None
        case _:
            return None


def push_not(x: Expr) -> Expr | None:
    """not not a = a; not (a < b) = a >= b for integers; De Morgan."""
    match x:
        case e.Not(operand=e.Not(operand=a)):
            return a
        case e.Not(operand=e.Compare() as c) if _integers(c):
            return replace(c, op=NEGATED[c.op])
        case e.Not(operand=e.And() as c):
            return e.Or(tuple(_not(o) for o in c.operands), span=x.span)
        case e.Not(operand=e.Or() as c):
            return e.And(tuple(_not(o) for o in c.operands), span=x.span)
        case _:
            return None


def _not(x: Expr) -> Expr:
    negated = e.Not(x, span=x.span)
    return push_not(negated) or negated


def choose(x: Expr) -> Expr | None:
    """(a if true else b) = a; (a if c else a) = a; for booleans, c and a or not c and b."""
    match x:
        case e.Select(condition=e.Bool(value=c)):
            return x.then if c else x.otherwise
        case e.Select() if x.then == x.otherwise:
            return x.then
        case e.Select() if kind_of(x) is Kind.BOOL:
            return e.Or(
                (
                    e.And((x.condition, x.then), span=x.span),
                    e.And((_not(x.condition), x.otherwise), span=x.span),
                ),
                span=x.span,
            )
        case _:
            return None


def arithmetic_units(x: Expr) -> Expr | None:
    """x+0 = x-0 = x*1 = x//1 = x; x*0 = x%1 = 0; x-x = 0 (integers); -(-x) = x."""
    match x:
        case (
            e.Arith(op="+", left=a, right=e.Int(value=0))
            | e.Arith(op="+", left=e.Int(value=0), right=a)
        ):
            return a if kind_of(a) is Kind.INT else None
        case e.Arith(op="-" | "*" | "//", left=a, right=e.Int(value=v)) if (
            v == (0 if x.op == "-" else 1) and kind_of(a) is Kind.INT
        ):
            return a
        case e.Arith(op="*", left=e.Int(value=1), right=a) if kind_of(a) is Kind.INT:
            return a
        case e.Arith(op="*", left=a, right=b) if e.Int(0) in (a, b) and _integers(x):
            return e.Int(0, span=x.span)
        case e.Arith(op="%", left=a, right=e.Int(value=1)) if kind_of(a) is Kind.INT:
            return e.Int(0, span=x.span)
        case e.Arith(op="-", left=a, right=b) if a == b and kind_of(a) is Kind.INT:
            return e.Int(0, span=x.span)
        case e.Neg(operand=e.Neg(operand=a)):
            return a
        case _:
            return None


def reflexive(x: Expr) -> Expr | None:
    """x == x, x <= x, x >= x are true; x != x, x < x, x > x are false (never NaN: integers)."""
    match x:
        case e.Compare(op=op, left=a, right=b) if a == b and kind_of(a) is not Kind.FLOAT:
            return e.Bool(op in ("==", "<=", ">="), span=x.span)
        case _:
            return None


def remainders_apart(x: Expr) -> Expr | None:
    """(a - b + c) % m == r is (a + c - r) % m == b % m, for coordinates a and b of unlike tokens:
    each side is then worked out by itself, and alike on all tokens of a residue."""
    match x:
        case e.Compare(
            op="==" | "!=",
            left=e.Arith(op="%", left=inner, right=e.Int(value=m)),
            right=e.Int(value=r),
        ) if m > 1 and 0 <= r < m:
            form = linear(inner)
        case _:
            return None
    match form.terms:
        case ((e.Coord() as a, 1), (e.Coord() as b, -1)) | (
            (e.Coord() as b, -1),
            (e.Coord() as a, 1),
        ):
            pass
        case _:
            return None
    if a.side is b.side:
        return None
    shift = (form.constant - r) % m
    moved = e.Arith("+", a, e.Int(shift)) if shift else a
    left, right = (e.Arith("%", y, e.Int(m)) for y in (moved, b))
    return replace(x, left=left, right=right)


def equal_extremes(x: Expr) -> Expr | None:
    """min(x, x) = max(x, x) = x; abs(abs(x)) = abs(x)."""
    match x:
        case e.Apply(function="min" | "max") if len(set(x.arguments)) == 1:
            return x.arguments[0]
        case e.Apply(function="abs", arguments=(e.Apply(function="abs") as inner,)):
            return inner
        case _:
            return None


def _integers(x: Expr) -> bool:
    return all(kind_of(c) is not Kind.FLOAT for c in children(x))


_LOGIC: tuple[Rule, ...] = (fold_constants, flatten_logic, logic_units, complement)
_ARITHMETIC: tuple[Rule, ...] = (fold_constants, arithmetic_units)
_RULES: dict[type[Expr], tuple[Rule, ...]] = {
    e.Neg: _ARITHMETIC,
    e.Arith: _ARITHMETIC,
    e.Compare: (fold_constants, reflexive, remainders_apart),
    e.And: _LOGIC,
    e.Or: _LOGIC,
    e.Not: (fold_constants, push_not),
    e.Select: (fold_constants, choose),
    e.Apply: (fold_constants, equal_extremes),
}
"""The rules that can fire on each type of node; none can on leaves and tables."""

RULES: tuple[Rule, ...] = tuple(dict.fromkeys(r for rules in _RULES.values() for r in rules))


def apply_rules(x: Expr) -> Expr | None:
    """The first rule that fires, again and again; None if none does."""
    changed: Expr | None = None
    for _ in range(64):
        for rule in _RULES.get(type(x), ()):
            y = rule(x)
            if y is not None:
                changed = x = y
                break
        else:
            break
    return changed


@remembered
def simplify(x: Expr) -> Expr:
    """The expression with every rule applied, bottom-up, to a fixed point."""
    for _ in range(8):
        y = rewrite(x, apply_rules)
        if y is x:
            return x
        x = y
    return x
