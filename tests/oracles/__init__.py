"""Brute-force definitions of every pattern: plain loops, no attnlang, no torch.

`mask(id)` gives the function that draws the pattern `id` (see `masks.py`); `scores.py` has the
score edits and `attention.py` the attention itself.
"""

from tests.oracles.masks import FULL_WHEN_EMPTY, KEPT_WHEN_EMPTY, MASKS, MaskOracle

__all__ = ["FULL_WHEN_EMPTY", "KEPT_WHEN_EMPTY", "MASKS", "MaskOracle", "mask"]


def mask(pattern: str) -> MaskOracle:
    """The oracle of a catalogue id: `mask("causal")({"n": 4})` is a bool [1, 4, 4]."""
    if pattern not in MASKS:
        raise KeyError(f"no mask oracle for {pattern!r}; known: {', '.join(sorted(MASKS))}")
    return MASKS[pattern]
