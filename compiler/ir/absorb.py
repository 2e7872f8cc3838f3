"""Conjunctions without what they say twice: comparisons of integers are told by their linear form.

``k <= q`` and ``0 <= q - k`` are one; beside them ``k > q or q - k >= 8`` says no more than its
second part.
"""

from __future__ import annotations

from typing import TypeAlias

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.linear import Linear, difference
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import kind_of, rewrite

Fact: TypeAlias = tuple[str, frozenset[tuple[Expr, int]], int]
"""A linear form that is at most 0, is 0, or is not 0: which of these, its terms, its constant."""


def absorbed(x: Expr) -> Expr:
    """The same value everywhere, with fewer parts."""
    return simplify(rewrite(x, _absorb))


def _absorb(x: Expr) -> Expr | None:
    if not isinstance(x, e.And):
        return None
    facts: dict[Fact, Expr] = {}
    rest: list[Expr] = []
    for operand in x.operands:
        fact = _fact(operand)
        if fact is None:
            rest.append(operand)
        else:
            facts.setdefault(fact, operand)
    kept = [y for y in (_beside(facts, z) for z in rest) if y is not None]
    return e.And((*facts.values(), *kept)) if facts or kept else e.TRUE


def _beside(facts: dict[Fact, Expr], x: Expr) -> Expr | None:
    """What an operand adds to facts; None for nothing."""
    if not isinstance(x, e.Or):
        return x
    found = [(y, _fact(y)) for y in x.operands]
    if any(fact in facts for _, fact in found):
        return None
    left = tuple(y for y, fact in found if fact is None or _complement(fact) not in facts)
    return e.Or(left) if left else e.FALSE


def _fact(x: Expr) -> Fact | None:
    if not isinstance(x, e.Compare) or kind_of(x.left) is not Kind.INT:
        return None
    form = difference(x.left, x.right)
    match x.op:
        case "<=" | "<":
            return _at_most(form, 1, int(x.op == "<"))
        case ">=" | ">":
            return _at_most(form, -1, int(x.op == ">"))
        case "==" | "!=":
            first = min(form.terms, key=lambda t: repr(t[0]), default=None)
            sign = -1 if first is not None and first[1] < 0 else 1
            _, terms, constant = _at_most(form, sign, 0)
            return "is" if x.op == "==" else "is not", terms, constant
        case _:
            return None


def _at_most(form: Linear, sign: int, more: int) -> Fact:
    terms = frozenset((atom, sign * c) for atom, c in form.terms)
    return "at most", terms, sign * form.constant + more


def _complement(fact: Fact) -> Fact:
    kind, terms, constant = fact
    match kind:
        case "is":
            return "is not", terms, constant
        case "is not":
            return "is", terms, constant
        case _:
            return kind, frozenset((atom, -c) for atom, c in terms), 1 - constant
