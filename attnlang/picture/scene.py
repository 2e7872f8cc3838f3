"""A laid-out picture in pixels: what the SVG and the PNG both draw."""

from dataclasses import dataclass
from typing import Literal

from attnlang.picture.panel import Cells

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; (x, y) is on its baseline, at its `anchor`. Turned text reads upwards."""

    x: float
    y: float
    content: str
    size: int
    colour: str
    anchor: Anchor = "start"
    bold: bool = False
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Swatch:
    """A small filled square of the legend."""

    x: float
    y: float
    side: float
    fill: str


@dataclass(frozen=True, slots=True)
class Line:
    """A thin straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str


# Identity equality, as for Panel.
@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The cells of one panel, from the corner (x, y), each cell_width x cell_height."""

    x: float
    y: float
    cell_width: int
    cell_height: int
    cells: Cells

    @property
    def width(self) -> int:
        """The width in pixels."""
        return self.cell_width * int(self.cells.shape[1])

    @property
    def height(self) -> int:
        """The height in pixels."""
        return self.cell_height * int(self.cells.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything on the paper, in drawing order: fields, lines, swatches, texts."""

    width: int
    height: int
    name: str
    fields: tuple[Field, ...]
    lines: tuple[Line, ...]
    swatches: tuple[Swatch, ...]
    texts: tuple[Text, ...]
