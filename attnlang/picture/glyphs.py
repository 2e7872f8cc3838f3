"""Cells as characters of a terminal."""

from collections.abc import Iterable

import numpy as np

from attnlang.picture.palette import FILL, rgb
from attnlang.picture.panel import Cell, Cells

CHARACTERS: dict[Cell, str] = {
    Cell.EMPTY: ".",
    Cell.PARTIAL: "+",
    Cell.FULL: "#",
    Cell.ALLOWED: "+",
    Cell.ALLOWED_FULL: "#",
    Cell.SKIPPED: "-",
    Cell.CANDIDATE: "o",
    Cell.CHOSEN: "x",
    Cell.SUMMED: "=",
}

_RESET = "\x1b[0m"


def characters(cells: Cells, zoom: int) -> list[str]:
    """One plain line a row; a cell is one character, followed by a space when zoomed by 2.

    >>> characters(np.array([[2, 1, 0]], dtype=np.uint8), 1)
    ['#+.']
    """
    # Spaced out, "# # ." is easier to count than "####..".
    between = " " * (zoom - 1)
    return [between.join(CHARACTERS[Cell(int(code))] for code in row) + between for row in cells]


def half_blocks(cells: Cells, zoom: int) -> list[str]:
    """Coloured lines of upper half blocks: two rows a line, or a 2 x 1 block a cell when zoomed."""
    large = np.repeat(np.repeat(cells, zoom, axis=0), zoom, axis=1)
    lines = []
    for top in range(0, len(large), 2):
        if top + 1 < len(large):
            pair = zip(large[top], large[top + 1], strict=True)
            paints = [_foreground(upper) + _background(lower) for upper, lower in pair]
        else:
            paints = [_foreground(upper) for upper in large[top]]
        lines.append(_painted(paints))
    return lines


def swatch(cell: Cell) -> str:
    """Two columns of the cell's colour, for a legend."""
    return f"{_foreground(cell)}██{_RESET}"


def _painted(paints: Iterable[str]) -> str:
    line = ""
    before = ""
    for paint in paints:
        line += "▀" if paint == before else paint + "▀"
        before = paint
    return line + _RESET


def _foreground(code: int) -> str:
    return "\x1b[38;2;{};{};{}m".format(*rgb(FILL[Cell(int(code))]))


def _background(code: int) -> str:
    return "\x1b[48;2;{};{};{}m".format(*rgb(FILL[Cell(int(code))]))
