"""The cost model: which tile shapes waste least on a machine.

A tile of few rows or keys uses a machine badly, a large one covers more than the pattern needs.
Efficiencies are the fraction of peak a tile extent is taken to reach: estimates from the
instruction shapes of the targets, replaced by measurement wherever tiles are tuned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What tiles cost.

    query, key: efficiency by slots of a tile. exact_keys: keys are read one by one, so a box of
    keys is not rounded up to key tiles.
    """

    query: Mapping[int, float]
    key: Mapping[int, float]
    exact_keys: bool


TENSOR_CORES = Machine(
    {16: 0.50, 32: 0.75, 64: 0.96, 128: 1.0},
    {16: 0.70, 32: 0.90, 64: 0.98, 128: 1.0},
    exact_keys=False,
)
"""sm_80 to sm_100: 16-row minimum, 64-row warp groups."""

BATCHED = Machine({16: 0.45, 32: 0.75, 64: 1.0, 128: 1.0}, {}, exact_keys=True)
"""Batched matrix products of a tensor library on any device."""

LARGEST_TILE = 128
SMALLEST_TILE = 16


def slots(capacity: int) -> int:
    """Slots that hardware gives to a tile: the next power of two, 16 at least."""
    return max(SMALLEST_TILE, 1 << (max(capacity, 1) - 1).bit_length())


def shapes(options: list[list[int]]) -> Iterator[tuple[int, ...]]:
    """Tile shapes, one extent an axis, of at most :data:`LARGEST_TILE` tokens."""
    for shape in itertools.product(*options):
        if slots(math.prod(shape)) <= LARGEST_TILE:
            yield shape


def extents(longest: int) -> list[int]:
    """Extents worth trying on an axis whose classes have ``longest`` positions."""
    powers = [1 << i for i in range(8) if (1 << i) < longest]
    return [*powers, longest] if longest <= LARGEST_TILE else powers


def cost(visited: float, q_slots: int, k_slots: int, machine: Machine) -> float:
    """Time of visiting that many tile pairs, in slots at full efficiency."""
    return visited * q_slots * k_slots / (machine.query[q_slots] * machine.key.get(k_slots, 1.0))
