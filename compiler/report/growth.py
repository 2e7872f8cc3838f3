"""How the keys of a query grow with the number of tokens: measured, not guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnlang.compiler.problem.steps import whole_of
from attnlang.compiler.report.scaling import Counted

_FLAT = 0.002
"""A count that changes by less than this share from one size to the next does not grow."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Keys per query like ``a + N ** exponent``, fitted to counts at three sizes.

    sizes, keys: what was counted. sample: of how many queries; None when of all.
    kind: the class of the work that follows from the exponent.
    """

    sizes: tuple[tuple[tuple[str, int], ...], ...]
    keys: tuple[float, ...]
    sample: int | None
    exponent: float
    kind: str


def growth(counted: tuple[Counted, ...]) -> Growth | None:
    """The growth over three counted sizes; None without them."""
    if len(counted) != 3:
        return None
    tokens = [whole_of(x.problem).k_len for x in counted]
    keys = [x.mean_keys for x in counted]
    exponent, steady = _exponent(tokens, keys)
    sizes = tuple(tuple(x.sizes.items()) for x in counted)
    return Growth(sizes, tuple(keys), counted[-1].sample, exponent, _kind(exponent, steady))


def _exponent(tokens: list[int], keys: list[float]) -> tuple[float, bool]:
    """The exponent, and whether the count has stopped growing."""
    before, after = keys[1] - keys[0], keys[2] - keys[1]
    if after <= _FLAT * keys[2]:
        return 0.0, True
    if before <= 0:
        return math.log(keys[2] / keys[1]) / math.log(tokens[2] / tokens[1]), False
    # Differences drop the constant part: windows and sinks beside something that grows.
    exponent = _solve(tokens, after / before)
    return max(exponent, 0.0), exponent < -0.1


def _solve(tokens: list[int], quotient: float) -> float:
    """The x at which the differences of ``N ** x`` have this quotient, by bisection."""
    a, b, c = (math.log(n / tokens[0]) for n in tokens)

    def difference(x: float) -> float:
        if abs(x) < 1e-9:
            return (c - b) / (b - a) - quotient
        return (math.exp(x * c) - math.exp(x * b)) / (math.exp(x * b) - math.exp(x * a)) - quotient

    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if difference(middle) > 0 else (middle, high)
    return low


def _kind(exponent: float, steady: bool) -> str:
    if steady:
        return "linear: a bounded number of keys per query"
    if exponent < 0.1:
        return "N log N: O(log N) keys per query"
    if 0.45 <= exponent <= 0.55:
        return "N sqrt(N): O(sqrt N) keys per query"
    if exponent > 0.95:
        return "quadratic: O(N) keys per query"
    return f"N^{1 + exponent:.2f}"
