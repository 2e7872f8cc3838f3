"""Which labels stand along the edge of a panel."""

from collections.abc import Callable
from itertools import pairwise

from attnlang.picture.panel import Panel, Ticks

_MOST = 8


def numbered(length: int) -> Ticks:
    """Plain numbers along an axis, a power of two apart, at most eight.

    >>> numbered(64)[:3]
    ((0, '0'), (8, '8'), (16, '16'))
    """
    step = 1
    while length > _MOST * step:
        step *= 2
    return tuple((position, str(position)) for position in range(0, length, step))


def row_ticks(panel: Panel) -> Ticks:
    """The ticks along the query axis, numbers unless the panel says otherwise."""
    return numbered(panel.rows) if panel.row_ticks is None else panel.row_ticks


def col_ticks(panel: Panel) -> Ticks:
    """The ticks along the key axis, numbers unless the panel says otherwise."""
    return numbered(panel.cols) if panel.col_ticks is None else panel.col_ticks


def spaced(ticks: Ticks, *, unit: float, size: Callable[[str], float]) -> Ticks:
    """The ticks whose centred labels do not run into each other; even ticks stay even.

    A cell is `unit` long and a label, with the gap it wants, `size(label)`.

    >>> spaced(((0, "a"), (1, "b"), (2, "c")), unit=6.0, size=lambda label: 10.0)
    ((0, 'a'), (2, 'c'))
    """
    ordered = tuple(sorted(ticks))
    if not _even(ordered):
        return _clear(ordered, unit, size)
    kept = ordered
    while len(kept) > 1 and _clear(kept, unit, size) != kept:
        kept = kept[::2]
    return kept


def _even(ticks: Ticks) -> bool:
    steps = {after[0] - before[0] for before, after in pairwise(ticks)}
    return len(steps) <= 1


def _clear(ticks: Ticks, unit: float, size: Callable[[str], float]) -> Ticks:
    """From the start, every tick that is clear of the last one taken."""
    kept: list[tuple[int, str]] = []
    free_from = float("-inf")
    for position, label in ticks:
        half = size(label) / 2
        centre = (position + 0.5) * unit
        if centre - half >= free_from:
            kept.append((position, label))
            free_from = centre + half
    return tuple(kept)
