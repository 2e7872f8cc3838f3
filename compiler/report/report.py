"""The report on one pattern at one size: what it costs, what holds of it, how it scales.

Everything is counted, nothing is estimated: what could not be counted is None, and a note says
why. Figures are those of one batch element.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.ir.pattern import ParameterValue
from attnlang.compiler.report.cache import Cache
from attnlang.compiler.report.facts import Fact
from attnlang.compiler.report.formula import Formula
from attnlang.compiler.report.growth import Growth
from attnlang.compiler.report.reach import Reach
from attnlang.compiler.report.solution import Solution


@dataclass(frozen=True, slots=True)
class Shape:
    """What was asked about. sizes: as they were given; queries, keys: tokens of each side;
    head_classes: how many different sets of pairs the heads have.
    """

    sizes: tuple[tuple[str, int], ...]
    queries: int
    keys: int
    heads: int
    kv_heads: int
    head_classes: int
    head_dim: int

    @property
    def pairs(self) -> int:
        """All (head, query, key): what dense attention computes."""
        return self.heads * self.queries * self.keys


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys per query: the fewest, the average and the most, over queries and heads."""

    least: int
    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """Attending (head, query, key). count None: not counted, but at most ``at_most``."""

    count: int | None
    at_most: int
    density: float | None
    keys: Keys | None


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tile pairs over all heads. slots: what visiting them costs, padding included.

    share: of a head's tiles, how many are visited, on average (heads may have tiles of their own).
    waste: slots over attending pairs. exact: is no tile visited or masked without need? layouts: in
    words, one for all heads or for each of several parts.
    """

    full: int
    partial: int
    empty: int
    share: float
    slots: int
    waste: float | None
    exact: bool
    layouts: tuple[str, ...]
    planning_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations: 2 products of ``2 * head_dim`` a pair forward, 2.5 times that
    backward.

    speedup_pairs: dense attention's pairs over those that attend; no kernel gains more by
    skipping. speedup_tiles: the same for the slots of the tiles visited.
    """

    forward: int | None
    backward: int | None
    dense_forward: int
    speedup_pairs: float | None
    speedup_tiles: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: q, k, v and out in bfloat16; the dense mask that is never made; the plan's tables."""

    tensors: int
    dense_mask: int
    tables: int


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to say; ``notes`` say what is missing and why."""

    pattern: str
    params: tuple[tuple[str, ParameterValue], ...]
    shape: Shape
    pairs: Pairs
    tiles: Tiles
    cost: Cost
    memory: Memory
    solutions: tuple[Solution, ...]
    facts: tuple[Fact, ...]
    formula: Formula | None
    growth: Growth | None
    cache: Cache | None
    reach: Reach | None
    notes: tuple[str, ...]

    def fact(self, name: str) -> Fact:
        return next(f for f in self.facts if f.name == name)
