"""Attending pairs as a formula of the length: interpolated from exact counts, then checked.

The number of pairs of an affine pattern is a polynomial in the length wherever its windows fit,
along lengths that are congruent modulo the divisors it contains. So three exact counts give the
formula, and two more at other lengths say whether it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_groups

LONGEST = 40_000
"""Lengths beyond this are not counted for a formula."""


@dataclass(frozen=True, slots=True)
class Formula:
    """pairs: in N, such as ``N**2/2 + N/2``. step: N is taken a multiple of it. checked: lengths at
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
    step = _period(pattern)
    if step is None:
        return None
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
        found = _through(lengths[:3], counts[:3])
        again = [*zip(lengths[3:], counts[3:], strict=True), (at, count(at))]
        if all((found[0] * n + found[1]) * n + found[2] == c for n, c in again):
            return Formula(_text(found), step, tuple(sorted({*lengths, at})))
        base *= 2
    return None


def _through(at: list[int], values: list[int]) -> tuple[Fraction, Fraction, Fraction]:
    """The coefficients of N**2, N and 1 of the parabola through three points (Newton's form)."""
    (x, y, z), (a, b, c) = at, values
    slope = Fraction(b - a, y - x)
    square = (Fraction(c - b, z - y) - slope) / (z - x)
    return square, slope - square * (x + y), a - slope * x + square * x * y


def _text(coefficients: tuple[Fraction, Fraction, Fraction]) -> str:
    terms = [_term(c, power) for c, power in zip(coefficients, ("N**2", "N", ""), strict=True) if c]
    return " + ".join(terms).replace("+ -", "- ") or "0"


def _term(c: Fraction, power: str) -> str:
    """``3*N/2``, ``-N**2``, ``7``."""
    if not power:
        return str(c)
    whole = {1: power, -1: f"-{power}"}.get(c.numerator, f"{c.numerator}*{power}")
    return whole if c.denominator == 1 else f"{whole}/{c.denominator}"


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
