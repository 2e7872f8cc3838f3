"""One panel laid out: its cells, tile grid, ticks, axis names and title."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from attnlang.picture.labels import pixels, printable
from attnlang.picture.palette import FRAME, GRID, INK, SOFT_INK
from attnlang.picture.panel import Panel, Ticks
from attnlang.picture.scene import Field, Line, Text
from attnlang.picture.ticks import col_ticks, row_ticks, spaced

_TICK_SIZE = 11
_NAME_SIZE = 12
_TITLE_SIZE = 14
_MARK = 4
_CLOSEST_GRID = 12


@dataclass(frozen=True, slots=True)
class Margins:
    """The pixels a panel needs around its cells."""

    left: int
    top: int
    right: int
    bottom: int


def margins(panel: Panel) -> Margins:
    """The space for the panel's title, ticks and axis names."""
    rows, cols = _longest(row_ticks(panel)), _longest(col_ticks(panel))
    return Margins(
        left=max(_NAME_SIZE + 8 + rows + _MARK + 4, math.ceil(cols / 2)),
        top=_TITLE_SIZE + 10 if printable(panel.title) else 0,
        right=math.ceil(cols / 2),
        bottom=_MARK + (_TICK_SIZE + 4 if cols else 0) + _NAME_SIZE + 8,
    )


def title_width(panel: Panel) -> int:
    """The width of the panel's title."""
    return pixels(printable(panel.title), _TITLE_SIZE, bold=True)


def lines(panel: Panel, field: Field) -> Iterator[Line]:
    """The tile grid, the frame around the cells, and the tick marks."""
    left, top = field.x, field.y
    right, bottom = left + field.width, top + field.height
    if panel.grid is not None:
        down, across = panel.grid[0] * field.cell_height, panel.grid[1] * field.cell_width
        # Closer lines would hide the cells under them.
        if min(down, across) >= _CLOSEST_GRID:
            for y in range(down, field.height, down):
                yield Line(left, top + y, right, top + y, GRID)
            for x in range(across, field.width, across):
                yield Line(left + x, top, left + x, bottom, GRID)
    yield Line(left, top, right, top, FRAME)
    yield Line(right, top, right, bottom, FRAME)
    yield Line(right, bottom, left, bottom, FRAME)
    yield Line(left, bottom, left, top, FRAME)
    for position, _ in _rows_shown(panel, field):
        middle = top + (position + 0.5) * field.cell_height
        yield Line(left - _MARK, middle, left, middle, FRAME)
    for position, _ in _cols_shown(panel, field):
        middle = left + (position + 0.5) * field.cell_width
        yield Line(middle, bottom, middle, bottom + _MARK, FRAME)


def texts(panel: Panel, field: Field) -> Iterator[Text]:
    """The title, the tick labels and the names of the axes."""
    room = margins(panel)
    middle_x, middle_y = field.x + field.width / 2, field.y + field.height / 2
    bottom = field.y + field.height
    if room.top:
        yield Text(field.x, field.y - 9, printable(panel.title), _TITLE_SIZE, INK, bold=True)
    for position, label in _rows_shown(panel, field):
        y = field.y + (position + 0.5) * field.cell_height + _TICK_SIZE * 0.36
        yield Text(field.x - _MARK - 3, y, label, _TICK_SIZE, SOFT_INK, anchor="end")
    for position, label in _cols_shown(panel, field):
        x = field.x + (position + 0.5) * field.cell_width
        yield Text(x, bottom + _MARK + _TICK_SIZE, label, _TICK_SIZE, SOFT_INK, anchor="middle")
    name_x = field.x - room.left + _NAME_SIZE
    yield Text(name_x, middle_y, "query", _NAME_SIZE, INK, anchor="middle", turned=True)
    yield Text(middle_x, bottom + room.bottom - 5, "key", _NAME_SIZE, INK, anchor="middle")


def _rows_shown(panel: Panel, field: Field) -> Ticks:
    ticks = _printable(row_ticks(panel))
    return spaced(ticks, unit=field.cell_height, size=lambda label: _TICK_SIZE + 2)


def _cols_shown(panel: Panel, field: Field) -> Ticks:
    ticks = _printable(col_ticks(panel))
    return spaced(ticks, unit=field.cell_width, size=lambda label: pixels(label, _TICK_SIZE) + 6)


def _longest(ticks: Ticks) -> int:
    return max((pixels(label, _TICK_SIZE) for _, label in _printable(ticks)), default=0)


def _printable(ticks: Ticks) -> Ticks:
    return tuple((position, printable(label)) for position, label in ticks)
