"""The words that explain the cells."""

import numpy as np

from attnlang.picture.panel import Cell, Picture

WORDS: dict[Cell, str] = {
    Cell.EMPTY: "empty",
    Cell.PARTIAL: "partial",
    Cell.FULL: "full",
    Cell.ALLOWED: "attends (partial tile)",
    Cell.ALLOWED_FULL: "attends (full tile)",
    Cell.SKIPPED: "visited, does not attend",
    Cell.CANDIDATE: "candidate, not chosen",
    Cell.CHOSEN: "chosen",
    Cell.SUMMED: "summed in the state",
}

# From most to least attention: the order in which a reader looks for them.
_ORDER = (
    Cell.FULL,
    Cell.PARTIAL,
    Cell.ALLOWED_FULL,
    Cell.ALLOWED,
    Cell.SUMMED,
    Cell.CHOSEN,
    Cell.CANDIDATE,
    Cell.SKIPPED,
    Cell.EMPTY,
)


def present(picture: Picture) -> tuple[Cell, ...]:
    """The kinds of cell that occur in the picture, in legend order."""
    codes = {int(code) for panel in picture.panels for code in np.unique(panel.cells)}
    return tuple(cell for cell in _ORDER if cell in codes)
