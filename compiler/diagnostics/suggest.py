"""Did you mean: the nearest known name, when one is near enough."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST, _MOST = 64, 1000
"""Comparing names costs the product of their lengths: names of strangers are bounded."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None when nothing is close."""
    candidates = sorted(set(known))
    for candidate in candidates:
        if candidate.lower() == name.lower():
            return candidate
    found = get_close_matches(name[:_LONGEST], candidates[:_MOST], n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str], also: Iterable[str] = ()) -> str | None:
    """A help line naming the nearest known name, or listing a short set of them.

    ``also``: names that are suggested when near, but not worth listing.
    """
    candidates = sorted(set(known))
    best = nearest(name, (*candidates, *also))
    if best is not None:
        return f"did you mean `{best}`?"
    if 0 < len(candidates) <= 8:
        return "known here: " + ", ".join(f"`{c}`" for c in candidates)
    return None
