"""One palette for every drawing: blues that also differ in lightness, so hue is never needed."""

from attnlang.picture.panel import Cell

FILL: dict[Cell, str] = {
    Cell.EMPTY: "#f7f7f4",
    Cell.PARTIAL: "#7db3e0",
    Cell.FULL: "#1c4e80",
    Cell.ALLOWED: "#7db3e0",
    Cell.ALLOWED_FULL: "#1c4e80",
    Cell.SKIPPED: "#ded3c1",
    Cell.CANDIDATE: "#cbe0f2",
    Cell.CHOSEN: "#c77a3a",
    Cell.SUMMED: "#6aa893",
}

PAPER = "#ffffff"
PAPER_EDGE = "#d9dde2"
INK = "#1f2933"
SOFT_INK = "#5b6672"
FRAME = "#8a949e"
GRID = "#a3acb5"

# Okabe and Ito's colours, blue first; yellow is left out because it fades on white.
LINES = ("#1c4e80", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def rgb(colour: str) -> tuple[int, int, int]:
    """The three channels of a "#rrggbb" colour.

    >>> rgb("#1c4e80")
    (28, 78, 128)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
