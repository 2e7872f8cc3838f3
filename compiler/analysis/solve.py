"""Solving a literal for a key coordinate: ``k >= a(q)``, ``k < b(q)``, ``k mod m = r(q)``.

The bounds are expressions over the query alone, whatever they look like: they are evaluated,
not searched. Floor divisions around the key are undone exactly:
``k // m <= t`` is ``k < m * (t + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from attnlang.compiler.analysis.normal import expression, reads, scaled
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.linear import Linear, difference, linear
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.simplify import MIRRORED, simplify
from attnlang.compiler.ir.traverse import kind_of


@dataclass(frozen=True, slots=True)
class Lower:
    """key >= bound"""

    axis: str
    bound: Expr


@dataclass(frozen=True, slots=True)
class Upper:
    """key < bound"""

    axis: str
    bound: Expr


@dataclass(frozen=True, slots=True)
class Congruent:
    """key mod modulus = residue; modulus a number above 1. Where the residue may be none of such
    numbers a condition on the query stands beside it."""

    axis: str
    modulus: int
    residue: Expr


@dataclass(frozen=True, slots=True)
class RowOnly:
    """A condition on the query alone."""

    condition: Expr


@dataclass(frozen=True, slots=True)
class Opaque:
    """A literal that could not be solved."""

    literal: Expr


Fact: TypeAlias = Lower | Upper | Congruent | RowOnly | Opaque


@remembered
def solve(literal: Expr) -> tuple[Fact, ...]:
    """What a literal says of the key coordinates; all facts together are equivalent to it."""
    if not reads(literal, Side.K):
        return (RowOnly(literal),)
    if not isinstance(literal, e.Compare) or kind_of(literal.left) is not Kind.INT:
        return (Opaque(literal),)
    form = difference(literal.left, literal.right)
    keyed = [(a, c) for a, c in form.terms if reads(a, Side.K)]
    rest = Linear(tuple(t for t in form.terms if not reads(t[0], Side.K)), form.constant)
    solved = _isolate(literal.op, keyed, rest)
    return solved if solved is not None else (Opaque(literal),)


def _isolate(
    op: e.CompareOp, keyed: list[tuple[Expr, int]], rest: Linear
) -> tuple[Fact, ...] | None:
    """c * atom + rest op 0, solved for the atom."""
    if len(keyed) != 1:
        return None
    atom, c = keyed[0]
    bound = expression(scaled(rest, -1 if c > 0 else 1))
    op = op if c > 0 else MIRRORED[op]
    c = abs(c)
    match op:
        case "<=" | "<":
            most = bound if op == "<=" else e.Arith("-", bound, e.Int(1))
            return _at_most(atom, _floor(most, c))
        case ">=" | ">":
            least = bound if op == ">=" else e.Arith("+", bound, e.Int(1))
            return _at_least(atom, _ceil(least, c))
        case "==":
            congruent = _congruence(atom, bound) if c == 1 else None
            if congruent is not None:
                return congruent
            low, high = _at_least(atom, _ceil(bound, c)), _at_most(atom, _floor(bound, c))
            return None if low is None or high is None else (*low, *high)
        case _:
            return None


def _at_most(atom: Expr, bound: Expr) -> tuple[Fact, ...] | None:
    match atom:
        case e.Coord(side=Side.K, axis=axis):
            return (Upper(axis, simplify(e.Arith("+", bound, e.Int(1)))),)
        case e.Arith(op="//", left=inner, right=e.Int(value=m)) if m > 0:
            # floor(x / m) <= t  iff  x <= m t + m - 1
            return _inner("<=", inner, e.Arith("+", e.Arith("*", e.Int(m), bound), e.Int(m - 1)))
        case e.Apply(function="ceildiv", arguments=(inner, e.Int(value=m))) if m > 0:
            return _inner("<=", inner, e.Arith("*", e.Int(m), bound))
        case _:
            return None


def _at_least(atom: Expr, bound: Expr) -> tuple[Fact, ...] | None:
    match atom:
        case e.Coord(side=Side.K, axis=axis):
            return (Lower(axis, simplify(bound)),)
        case e.Arith(op="//", left=inner, right=e.Int(value=m)) if m > 0:
            return _inner(">=", inner, e.Arith("*", e.Int(m), bound))
        case e.Apply(function="ceildiv", arguments=(inner, e.Int(value=m))) if m > 0:
            # ceil(x / m) >= t  iff  x >= m t - m + 1
            return _inner(">=", inner, e.Arith("-", e.Arith("*", e.Int(m), bound), e.Int(m - 1)))
        case _:
            return None


def _inner(op: e.CompareOp, inner: Expr, bound: Expr) -> tuple[Fact, ...] | None:
    form = linear(inner)
    keyed = [(a, c) for a, c in form.terms if reads(a, Side.K)]
    unkeyed = Linear(tuple(t for t in form.terms if not reads(t[0], Side.K)), form.constant)
    rest = difference(expression(unkeyed), bound)
    return _isolate(op, keyed, rest)


def _congruence(atom: Expr, residue: Expr) -> tuple[Fact, ...] | None:
    """``x % m = residue`` where ``x`` is the key, or the key and something of the query."""
    match atom:
        case e.Arith(op="%", left=inner, right=e.Int(value=m)) if m > 1:
            form = linear(inner)
        case _:
            return None
    keyed = [(a, c) for a, c in form.terms if reads(a, Side.K)]
    match keyed:
        case [(e.Coord(axis=axis), (1 | -1) as sign)]:
            pass
        case _:
            return None
    rest = Linear(tuple(t for t in form.terms if not reads(t[0], Side.K)), form.constant)
    moved = residue
    if rest.terms or rest.constant or sign == -1:
        apart = difference(residue, expression(rest))
        moved = e.Arith("%", expression(scaled(apart, sign)), e.Int(m))
    return (Congruent(axis, m, simplify(moved)), *_possible(simplify(residue), m))


def _possible(residue: Expr, modulus: int) -> tuple[Fact, ...]:
    """That a residue lies in 0 .. modulus - 1, unless it must: another is no key's."""
    match residue:
        case e.Arith(op="%", right=e.Int(value=m)) if 0 < m <= modulus:
            return ()
        case e.Int(value=value) if 0 <= value < modulus:
            return ()
        case _:
            ends = (e.Compare("<=", e.Int(0), residue), e.Compare("<", residue, e.Int(modulus)))
            return tuple(RowOnly(x) for x in ends)


def _floor(x: Expr, c: int) -> Expr:
    return x if c == 1 else e.Arith("//", x, e.Int(c))


def _ceil(x: Expr, c: int) -> Expr:
    return x if c == 1 else e.Apply("ceildiv", (x, e.Int(c)))
