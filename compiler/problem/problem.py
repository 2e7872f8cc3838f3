"""A problem: a checked pattern together with the sizes of one call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser, PatternIR, Segment

if TYPE_CHECKING:
    from attnlang.compiler.problem.program import BoundProgram


@dataclass(frozen=True, slots=True)
class Extent:
    """One segment of one side with its lengths.

    lengths: of each axis (the grid), or the one number of tokens (a prefix or suffix).
    start: place of its first token in the side's sequence.
    origin: coordinate of its first token on each axis (queries of a decode step start late).
    """

    segment: Segment
    axes: tuple[str, ...]
    lengths: tuple[int, ...]
    start: int
    origin: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.lengths)

    @property
    def stop(self) -> int:
        return self.start + self.size


def grid_of(side: Sequence[Extent]) -> Extent:
    """The segment of a side that lies on the axes."""
    return next(x for x in side if x.segment.is_grid)


@dataclass(frozen=True, slots=True)
class BoundAttend:
    """An attention whose parameters, lengths and head counts are numbers.

    The expressions read only coordinates, indices, the head, token inputs and tables.
    """

    where: Expr
    score: Expr | None
    scale: Expr | None
    sink: Expr | None
    empty: EmptyRule
    normaliser: Normaliser = Normaliser.SOFTMAX
    gain: Expr | None = None


@dataclass(frozen=True, slots=True)
class BoundGroup:
    """The attention of heads ``start <= head < stop``. index: of the pattern's group."""

    start: int
    stop: int
    attend: BoundAttend
    index: int = 0


@dataclass(frozen=True, eq=False)
class Problem:
    """One pattern at one size: everything planning needs, and nothing of any backend.

    Compared by identity, so that plans can be kept for as long as a problem lives.
    """

    pattern: PatternIR
    heads: int
    kv_heads: int
    head_dim: int
    q: tuple[Extent, ...]
    k: tuple[Extent, ...]
    groups: tuple[BoundGroup, ...]
    outer: BoundProgram | None = None
    """The program that this is a step of, at its own lengths."""

    def extents(self, side: Side) -> tuple[Extent, ...]:
        return self.q if side is Side.Q else self.k

    @property
    def q_len(self) -> int:
        return self.q[-1].stop

    @property
    def k_len(self) -> int:
        return self.k[-1].stop

    @property
    def varies_by_head(self) -> bool:
        """Do different heads attend different pairs?"""
        from attnlang.compiler.problem.heads import head_classes

        return len(head_classes(self)) > 1
