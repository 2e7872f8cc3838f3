"""How far a constant decay sees."""

from __future__ import annotations

import math


def horizon(log_decay: float, bits: int = 24) -> int:
    """The number of tokens after which a write counts less than ``2**-bits`` of what it did.

    With 24 bits what lies further back is lost in float32: such a head is a sliding window.
    Raises ValueError unless log_decay is below 0: without decay nothing is ever forgotten.
    """
    if not log_decay < 0:
        raise ValueError(f"a log-decay of {log_decay} has no horizon: it must be below 0")
    return math.floor(bits * math.log(2) / -log_decay) + 1
