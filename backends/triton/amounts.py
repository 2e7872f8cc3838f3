"""How many programs share the work of one tile or head."""

from __future__ import annotations

import torch

FEW_QUERIES = 64
FEWEST_KEYS = 256
"""Of a program of a shared walk: fewer are not worth merging."""
IDLE = 8
"""Programs that a machine runs at once where it does not say."""
SUMS = 1 << 24
"""Entries that the programs of a launch may add into, all together: 64 MiB."""
MOST_PROGRAMS = 256
"""Of a head: as many as keep a machine busy."""


def walk_shares(queries: int, heads: int, reach: int, device: torch.device) -> int:
    """How many programs share a walk: several where few queries would leave a machine idle.

    heads: with tiles of their own, of all batch elements. reach: keys of the longest walk.
    """
    if queries > FEW_QUERIES:
        return 1
    units = IDLE
    if device.type == "cuda":
        units = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(2 * units // max(1, heads), reach // FEWEST_KEYS))


def summing_programs(heads: int, entries: int) -> int:
    """How many programs of a head share its tiles when each adds up all entries of a table.

    heads: of all batch elements.
    """
    return min(max(1, SUMS // max(1, heads * entries)), MOST_PROGRAMS)
