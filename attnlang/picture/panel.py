"""The things that are drawn: cells, panels of cells, pictures of panels."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.uint8]
Ticks = tuple[tuple[int, str], ...]


class Cell(IntEnum):
    """What one cell of a panel says.

    A tile picture uses EMPTY, PARTIAL and FULL. An element picture uses EMPTY (pair in a tile
    that is never visited), ALLOWED, ALLOWED_FULL and SKIPPED. CANDIDATE and CHOSEN are of what
    only the data decide, SUMMED of linear attention.
    """

    EMPTY = 0
    PARTIAL = 1
    FULL = 2
    ALLOWED = 3
    """The pair attends, and its tile is partial."""
    ALLOWED_FULL = 4
    """The pair attends, and its tile is full."""
    SKIPPED = 5
    """The pair does not attend, but its tile is visited: wasted work."""
    CANDIDATE = 6
    """It may attend, or be chosen, with other tensors than those of the picture."""
    CHOSEN = 7
    """A selection has chosen it."""
    SUMMED = 8
    """A linear attention reads it as part of its state."""


# Identity equality: comparing arrays with `==` has no single truth value.
@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One matrix of cells: queries from top to bottom, keys from left to right.

    Ticks are (cell index, label) pairs; None asks for plain numbers, () for no ticks.
    `grid` is the height and width of a tile in cells: thin lines are drawn at its multiples.
    `box` is how many original cells one cell of `cells` stands for (see `downsample`).
    """

    title: str
    cells: Cells
    row_ticks: Ticks | None = None
    col_ticks: Ticks | None = None
    grid: tuple[int, int] | None = None
    box: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.cells.ndim != 2 or self.cells.dtype != np.uint8 or self.cells.size == 0:
            raise ValueError(
                "cells must be a non-empty uint8 [rows, cols] array, "
                f"not {self.cells.dtype} {list(self.cells.shape)}"
            )
        if int(self.cells.max()) > max(Cell):
            raise ValueError(f"no cell has the code {int(self.cells.max())}")
        for ticks, length in ((self.row_ticks, self.rows), (self.col_ticks, self.cols)):
            for position, label in ticks or ():
                if not 0 <= position < length:
                    raise ValueError(f"tick {label!r} at {position} lies outside {length} cells")
        if self.grid is not None and min(self.grid) < 1:
            raise ValueError(f"grid {self.grid} must be positive")

    @property
    def rows(self) -> int:
        """The number of query rows."""
        return int(self.cells.shape[0])

    @property
    def cols(self) -> int:
        """The number of key columns."""
        return int(self.cells.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Panels (often one a head) under one title."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]

    def __post_init__(self) -> None:
        if not self.panels:
            raise ValueError("a picture needs at least one panel")

    @property
    def caption(self) -> str:
        """The subtitle, plus a note when cells stand for several original cells.

        >>> import numpy as np
        >>> cells = np.zeros((4, 4), dtype=np.uint8)
        >>> Picture("causal", "seq 64", (Panel("", cells, box=(16, 16)),)).caption
        'seq 64; each cell = 16 x 16'
        """
        boxes = sorted({panel.box for panel in self.panels})
        if boxes == [(1, 1)]:
            return self.subtitle
        note = "each cell = " + " or ".join(f"{rows} x {cols}" for rows, cols in boxes)
        return f"{self.subtitle}; {note}" if self.subtitle else note
