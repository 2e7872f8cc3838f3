"""Arithmetic progressions of coordinates, one for each query, as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = Any
"""An int64 array with an entry for each query, or one number for all."""


@dataclass(frozen=True, eq=False)
class Progression:
    """The x with ``start <= x < stop`` and ``x mod modulus = residue``.

    ``residue`` lies in ``[0, modulus)``; ``possible`` is False where two residues exclude each
    other.
    """

    start: Ints
    stop: Ints
    modulus: int = 1
    residue: Ints = 0
    possible: Ints = True

    def from_(self, low: Ints) -> Progression:
        return replace(self, start=np.maximum(self.start, low))

    def until(self, high: Ints) -> Progression:
        return replace(self, stop=np.minimum(self.stop, high))

    def meet(self, other: Progression) -> Progression:
        """The members of both: intervals intersect, residues by the Chinese remainder theorem."""
        g = math.gcd(self.modulus, other.modulus)
        apart = other.residue - self.residue
        step = other.modulus // g
        inverse = pow(self.modulus // g, -1, step) if step > 1 else 0
        return Progression(
            np.maximum(self.start, other.start),
            np.minimum(self.stop, other.stop),
            self.modulus * step,
            self.residue + self.modulus * (apart // g * inverse % step),
            self.possible & other.possible & (apart % g == 0),
        )

    def count(self) -> NDArray[np.int64]:
        """How many members."""
        whole = self._below(self.stop) - self._below(self.start)
        return np.where((self.stop > self.start) & self.possible, whole, 0)

    def _below(self, x: Ints) -> Ints:
        """Members of the residue class below x, up to a constant."""
        return x if self.modulus == 1 else (x - 1 - self.residue) // self.modulus

    def first(self) -> Ints:
        """The least member, where there is one."""
        if self.modulus == 1:
            return self.start
        return self.start + (self.residue - self.start) % self.modulus

    def last(self) -> Ints:
        """The greatest member, where there is one."""
        if self.modulus == 1:
            return self.stop - 1
        return self.stop - 1 - (self.stop - 1 - self.residue) % self.modulus
