"""What a step costs, as sums of products: each number with its unit, and their product."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Factor = int | tuple[int, str]
"""A number, or one with a unit."""


@dataclass(frozen=True, slots=True)
class Term:
    """``2 * 64 features * 4096 pairs``. of: the tensor that is read, or what is done."""

    of: str
    factors: tuple[Factor, ...]

    @property
    def amount(self) -> int:
        return math.prod(x if isinstance(x, int) else x[0] for x in self.factors)

    def formula(self, number: Callable[[int], str] = str) -> str:
        """number: how numbers are written."""
        pairs = ((x, "") if isinstance(x, int) else x for x in self.factors)
        return " * ".join(f"{number(n)} {unit}".rstrip() for n, unit in pairs)


def term(of: str, *factors: Factor) -> Term:
    return Term(of, factors)


@dataclass(frozen=True, slots=True)
class Cost:
    """operations: two for each feature of a product, one for each feature of a sum or function, one
    for each comparison; what a softmax of an attention does besides its products is left out. None
    where pairs were not counted.

    traffic: bytes, each tensor read or written once: features in bfloat16, numbers and float
    inputs in float32, integers in 64 bits, truth values in a byte; sets of which lists are kept in
    32 bits a member. at_most: a selection or an input decides how many there are.
    """

    operations: tuple[Term, ...] | None
    traffic: tuple[Term, ...]
    at_most: bool = False

    @property
    def amount(self) -> int | None:
        return None if self.operations is None else sum(x.amount for x in self.operations)

    def named(self, of: str) -> int | None:
        """Operations of one kind alone."""
        if self.operations is None:
            return None
        return sum(x.amount for x in self.operations if x.of == of)

    @property
    def bytes(self) -> int:
        return sum(x.amount for x in self.traffic)


FREE = Cost((), ())
"""Of a step that is not run."""
