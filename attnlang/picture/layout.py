"""From a picture to a scene: where every panel and word stands."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attnlang.picture import frame, legend
from attnlang.picture.labels import pixels, printable
from attnlang.picture.palette import FILL, INK, SOFT_INK
from attnlang.picture.panel import Picture
from attnlang.picture.scene import Field, Scene, Swatch, Text
from attnlang.picture.shrink import fit

_EDGE = 24
_GAP = 28
_WIDEST = 1120
_NARROWEST = 380
_TITLE_SIZE = 20
_NOTE_SIZE = 13
_SWATCH = 13


@dataclass(frozen=True, slots=True)
class _Slots:
    """A table of slots, one a panel: the widths of its columns, the heights of its rows, and
    margins that suit all panels."""

    widths: tuple[int, ...]
    heights: tuple[int, ...]
    left: int
    top: int

    @property
    def width(self) -> int:
        return _before(self.widths, len(self.widths)) - _GAP

    @property
    def height(self) -> int:
        return _before(self.heights, len(self.heights)) - _GAP

    def corner(self, number: int) -> tuple[int, int]:
        """Of the slot of a panel, from the left and from the top."""
        down, across = divmod(number, len(self.widths))
        return _before(self.widths, across), _before(self.heights, down)


def _before(extents: Sequence[int], number: int) -> int:
    return sum(extents[:number]) + number * _GAP


def compose(picture: Picture) -> Scene:
    """The picture laid out, downsampled so that no cell is smaller than a pixel."""
    side = _side(len(picture.panels))
    small = fit(picture, side, side)
    cell_width, cell_height = _cell(small, side)
    slots = _slots(small, cell_width, cell_height)
    width = max(slots.width, _NARROWEST)
    texts = list(_heading(small, width))
    top = texts[-1].y + 18 if texts else float(_EDGE)

    fields = []
    for number, panel in enumerate(small.panels):
        across, down = slots.corner(number)
        x, y = _EDGE + across + slots.left, top + down + slots.top
        fields.append(Field(x, y, cell_width, cell_height, panel.cells))

    pairs = list(zip(small.panels, fields, strict=True))
    texts += [text for panel, field in pairs for text in frame.texts(panel, field)]
    swatches, words = _legend(small, top + slots.height + 18, width)
    return Scene(
        width=width + 2 * _EDGE,
        height=round(swatches[-1].y + _SWATCH + _EDGE),
        name=printable(picture.title),
        fields=tuple(fields),
        lines=tuple(line for panel, field in pairs for line in frame.lines(panel, field)),
        swatches=tuple(swatches),
        texts=(*texts, *words),
    )


def thumbnail(picture: Picture, side: int = 128) -> Scene:
    """The panels alone, side by side without words, each at most `side` pixels wide and high."""
    small = fit(picture, side, side)
    most = max(max(panel.rows, panel.cols) for panel in small.panels)
    cell = max(side // most, 1)
    fields: list[Field] = []
    x = 4.0
    for panel in small.panels:
        fields.append(Field(x, 4, cell, cell, panel.cells))
        x += fields[-1].width + 8
    height = max(field.height for field in fields) + 8
    return Scene(round(x) - 4, height, printable(picture.title), tuple(fields), (), (), ())


def _side(panels: int) -> int:
    """How many pixels the longer side of a panel may take: powers of two, as lengths often are."""
    if panels == 1:
        return 512
    return 256 if panels <= 12 else 128


def _cell(picture: Picture, side: int) -> tuple[int, int]:
    rows = max(panel.rows for panel in picture.panels)
    cols = max(panel.cols for panel in picture.panels)
    square = min(max(side // max(rows, cols), 1), 32)
    # A single query against a long cache would be a hair: such a side is stretched.
    return max(square, min(32, -(-32 // cols))), max(square, min(32, -(-32 // rows)))


def _slots(picture: Picture, cell_width: int, cell_height: int) -> _Slots:
    around = [frame.margins(panel) for panel in picture.panels]
    left = max(margins.left for margins in around)
    top = max(margins.top for margins in around)
    pairs = list(zip(picture.panels, around, strict=True))
    widths = [
        left + max(p.cols * cell_width + margins.right, frame.title_width(p))
        for p, margins in pairs
    ]
    heights = [top + p.rows * cell_height + margins.bottom for p, margins in pairs]
    most = max((_WIDEST + _GAP) // (max(widths) + _GAP), 1)
    if sum(widths) + _GAP * (len(widths) - 1) <= _WIDEST:
        most = len(widths)
    rows = -(-len(pairs) // most)
    across = -(-len(pairs) // rows)
    columns = tuple(max(widths[i::across]) for i in range(across))
    lines = tuple(max(heights[i : i + across]) for i in range(0, len(pairs), across))
    return _Slots(columns, lines, left, top)


def _heading(picture: Picture, width: int) -> Iterator[Text]:
    y = float(_EDGE)
    for content, size, colour in (
        (picture.title, _TITLE_SIZE, INK),
        (picture.caption, _NOTE_SIZE, SOFT_INK),
    ):
        fitting = max(int(width / (size * 0.58)), 8)
        for line in textwrap.wrap(printable(content), fitting):
            y += size if y == _EDGE else round(size * 1.45)
            yield Text(_EDGE, y, line, size, colour, bold=size == _TITLE_SIZE)


def _legend(picture: Picture, top: float, width: int) -> tuple[list[Swatch], list[Text]]:
    swatches: list[Swatch] = []
    words: list[Text] = []
    x, y = float(_EDGE), top
    for cell in legend.present(picture):
        word = legend.WORDS[cell]
        wide = _SWATCH + 7 + pixels(word, _NOTE_SIZE)
        if x > _EDGE and x + wide > _EDGE + width:
            x, y = float(_EDGE), y + _SWATCH + 9
        swatches.append(Swatch(x, y, _SWATCH, FILL[cell]))
        words.append(Text(x + _SWATCH + 7, y + 11, word, _NOTE_SIZE, INK))
        x += wide + 18
    return swatches, words
