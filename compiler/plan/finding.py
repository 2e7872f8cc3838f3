"""What came of an attempt at a proof."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """holds None: neither proved nor refuted. query, key: places in the sequence of a pair at
    which it fails; key None where the query alone does."""

    holds: bool | None
    query: int | None = None
    key: int | None = None


PROVED = Finding(True)
UNKNOWN = Finding(None)
