"""Equal neighbouring cells merged into rectangles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attnlang.picture.panel import Cell, Cells


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle of equal cells, measured in cells."""

    row: int
    col: int
    height: int
    width: int
    cell: Cell


def rectangles(cells: Cells) -> Iterator[Rectangle]:
    """Disjoint rectangles that cover all cells but the EMPTY ones.

    A run of equal cells in a row is one rectangle, and grows down over the rows below as long
    as they have exactly the same run.

    >>> cells = np.array([[1, 1, 0], [1, 1, 2]], dtype=np.uint8)
    >>> [(r.row, r.col, r.height, r.width) for r in rectangles(cells)]
    [(0, 0, 2, 2), (1, 2, 1, 1)]
    """
    first_row: dict[tuple[int, int, int], int] = {}
    for number in range(len(cells) + 1):
        here = set(_runs(cells[number])) if number < len(cells) else set()
        for run in sorted(first_row.keys() - here):
            start, stop, code = run
            top = first_row.pop(run)
            yield Rectangle(top, start, number - top, stop - start, Cell(code))
        for run in here:
            first_row.setdefault(run, number)


def _runs(row: Cells) -> Iterator[tuple[int, int, int]]:
    """The (start, stop, code) of each longest run of equal cells that are not EMPTY."""
    changes = np.flatnonzero(np.diff(row)) + 1
    starts = [0, *changes.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(row)], strict=True):
        code = int(row[start])
        if code != Cell.EMPTY:
            yield start, stop, code
