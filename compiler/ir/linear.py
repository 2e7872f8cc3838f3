"""Linear forms: an integer expression as sum of coefficient * atom + constant.

Writing ``q.n - k.n < w`` with every atom once makes interval bounds of a comparison exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.traverse import kind_of


@dataclass(frozen=True, slots=True)
class Linear:
    """``terms``: atoms (not themselves sums) with their non-zero coefficients."""

    terms: tuple[tuple[Expr, int], ...]
    constant: int

    @property
    def atoms(self) -> tuple[Expr, ...]:
        return tuple(atom for atom, _ in self.terms)

    def coefficient(self, atom: Expr) -> int:
        return next((c for a, c in self.terms if a == atom), 0)


def linear(root: Expr) -> Linear:
    """The linear form of an integer expression; what is not a sum or multiple is an atom."""
    terms: dict[Expr, int] = {}
    constant = _add(root, 1, terms)
    return Linear(tuple((a, c) for a, c in terms.items() if c), constant)


def difference(left: Expr, right: Expr) -> Linear:
    """The linear form of ``left - right``."""
    terms: dict[Expr, int] = {}
    constant = _add(left, 1, terms) + _add(right, -1, terms)
    return Linear(tuple((a, c) for a, c in terms.items() if c), constant)


def _add(x: Expr, factor: int, terms: dict[Expr, int]) -> int:
    match x:
        case e.Int():
            return factor * x.value
        case e.Neg():
            return _add(x.operand, -factor, terms)
        case e.Arith(op="+"):
            return _add(x.left, factor, terms) + _add(x.right, factor, terms)
        case e.Arith(op="-"):
            return _add(x.left, factor, terms) + _add(x.right, -factor, terms)
        case (
            e.Arith(op="*", left=e.Int(value=c), right=y)
            | e.Arith(op="*", left=y, right=e.Int(value=c))
        ):
            return _add(y, factor * c, terms)
        case _:
            terms[x] = terms.get(x, 0) + factor
            return 0


def is_integer(x: Expr) -> bool:
    return kind_of(x) is Kind.INT
