"""Attending pairs as a formula of the length: interpolated from exact counts, then checked.

The number of pairs of an affine pattern is a polynomial in the length wherever its windows fit,
along lengths that are congruent modulo the divisors it contains. So three exact counts give the
formula, and two more at other lengths say whether it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_groups

LONGEST = 40_000
"""Lengths beyond this are not counted for a formula."""


@dataclass(frozen=True, slots=True)
class Formula:
    """pairs: in N, as sympy prints it. step: N is taken a multiple of it. checked: the lengths at
    which the formula was compared with exact counts; the first of them is the least it is for."""

    pairs: str
    step: int
    checked: tuple[int, ...]

    def __str__(self) -> str:
        multiple = f", N a multiple of {self.step}" if self.step > 1 else ""
        return f"{self.pairs} pairs a head, for N >= {self.checked[0]}{multiple}"


def pairs_formula(pattern: PatternIR, count: Callable[[int], int], at: int) -> Formula | None:
    """The formula of ``count(N)``, pairs of one head, that holds around length ``at``.

    None if none was found. A window longer than the sequence is another regime than one that
    fits; a formula is taken only if it also gives the count at ``at`` (or at the longest length
    that is counted).
    """
    import sympy

    step = _period(pattern)
    if step is None:
        return None
    symbol = sympy.Symbol("N")
    at = min(at, LONGEST) // step * step
    if at <= 0:
        return None
    base = step
    while 8 * base <= LONGEST:
        lengths = [base + i * step * max(1, base // step // 2) for i in range(5)]
        try:
            counts = [count(n) for n in lengths]
        except PatternError:  # a requirement that only longer sequences meet
            base *= 2
            continue
        polynomial = sympy.interpolate(list(zip(lengths[:3], counts[:3], strict=True)), symbol)
        again = [*zip(lengths[3:], counts[3:], strict=True), (at, count(at))]
        if all(polynomial.subs(symbol, n) == c for n, c in again):
            return Formula(str(sympy.expand(polynomial)), step, tuple(sorted({*lengths, at})))
        base *= 2
    return None


def _period(pattern: PatternIR) -> int | None:
    """The least common multiple of the divisors in the predicates; None when it is too large."""
    period = 1
    for group in closed_groups(pattern):
        for node in walk(group.attend.where):
            match node:
                case e.Arith(op="//" | "%", right=e.Int(value=m)) if m > 0:
                    period = math.lcm(period, m)
                case e.Apply(function="ceildiv", arguments=(_, e.Int(value=m))) if m > 0:
                    period = math.lcm(period, m)
                case _:
                    pass
    return period if 8 * period <= LONGEST else None
