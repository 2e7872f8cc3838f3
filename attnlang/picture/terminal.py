"""A picture as text: half blocks in colour, or plain characters."""

import textwrap
from dataclasses import dataclass

from attnlang.picture import legend
from attnlang.picture.glyphs import CHARACTERS, characters, half_blocks, swatch
from attnlang.picture.labels import cut, printable
from attnlang.picture.panel import Panel, Picture
from attnlang.picture.shrink import fit
from attnlang.picture.ticks import col_ticks, row_ticks

_LABEL_WIDTH = 12
_NARROWEST = 8
_GAP = "   "


@dataclass(frozen=True, slots=True)
class _Block:
    """A drawn panel: lines that all show `width` characters."""

    lines: tuple[str, ...]
    width: int


def render(picture: Picture, *, width: int, color: bool) -> str:
    """The picture in at most `width` columns, downsampled if need be; no final newline.

    In colour, one character line shows two rows of cells by half blocks. Without, each cell is
    one of `.`, `+`, `#`, `-`, `o`, `x` and `=`. Tile grids are not drawn.
    """
    room = max(width - max(_gutter(panel) for panel in picture.panels), _NARROWEST)
    small = fit(picture, max_rows=room, max_cols=room)
    zoom = _zoom(small, width)
    blocks = [_panel(panel, zoom=zoom, width=width, color=color) for panel in small.panels]
    words = (printable(text) for text in (small.title, small.caption))
    # Wrapped, not cut: the note on the size of a cell comes last.
    head = [line for text in words for line in textwrap.wrap(text, max(width, _NARROWEST))]
    parts = ["\n".join(head)] if head else []
    parts += [_beside(row) for row in _packed(blocks, width)]
    parts.append(_legend(small, width, color=color))
    return "\n\n".join(parts)


def _gutter(panel: Panel) -> int:
    longest = max((len(printable(label)) for _, label in row_ticks(panel)), default=0)
    return max(min(longest, _LABEL_WIDTH), len("query")) + 1


def _zoom(picture: Picture, width: int) -> int:
    # A character is about twice as tall as wide, so two columns a cell look square; only
    # worth it while the panels still stand side by side.
    wide = sum(_gutter(panel) + 2 * panel.cols + len(_GAP) for panel in picture.panels)
    return 2 if wide - len(_GAP) <= width else 1


def _panel(panel: Panel, *, zoom: int, width: int, color: bool) -> _Block:
    gutter = _gutter(panel)
    inside = panel.cols * zoom
    title = cut(printable(panel.title), width)
    total = max(gutter + inside, gutter + len("key ->"), len(title))
    body = half_blocks(panel.cells, zoom) if color else characters(panel.cells, zoom)
    rows_a_line = 2 // zoom if color else 1
    labels = _line_labels(panel, rows_a_line)
    tail = " " * (total - gutter - inside)
    lines = [title.ljust(total)] if title else []
    lines.append(("query".rjust(gutter - 1) + " key ->").ljust(total))
    for number, line in enumerate(body):
        lines.append(labels.get(number, "").rjust(gutter - 1) + " " + line + tail)
    below = _labels_below(panel, zoom)
    if below:
        lines.append((" " * gutter + below).ljust(total))
    return _Block(tuple(lines), total)


def _line_labels(panel: Panel, rows_a_line: int) -> dict[int, str]:
    labels: dict[int, str] = {}
    for position, label in row_ticks(panel):
        labels.setdefault(position // rows_a_line, cut(printable(label), _LABEL_WIDTH))
    return labels


def _labels_below(panel: Panel, zoom: int) -> str:
    line = ""
    for position, label in sorted(col_ticks(panel)):
        text = printable(label)
        start = position * zoom
        clear = start == 0 or start > len(line)
        if clear and start + len(text) <= max(panel.cols * zoom, len("key ->")):
            line = line.ljust(start) + text
    return line


def _packed(blocks: list[_Block], width: int) -> list[list[_Block]]:
    """The blocks in order, as many beside each other as fit."""
    rows: list[list[_Block]] = []
    used = 0
    for block in blocks:
        if rows and used + len(_GAP) + block.width <= width:
            rows[-1].append(block)
            used += len(_GAP) + block.width
        else:
            rows.append([block])
            used = block.width
    return rows


def _beside(blocks: list[_Block]) -> str:
    height = max(len(block.lines) for block in blocks)
    lines = []
    for number in range(height):
        parts = [
            block.lines[number] if number < len(block.lines) else " " * block.width
            for block in blocks
        ]
        lines.append(_GAP.join(parts).rstrip())
    return "\n".join(lines)


def _legend(picture: Picture, width: int, *, color: bool) -> str:
    lines: list[str] = []
    used = 0
    for cell in legend.present(picture):
        mark = swatch(cell) if color else CHARACTERS[cell]
        shown = (2 if color else 1) + 1 + len(legend.WORDS[cell])
        if lines and used + len(_GAP) + shown <= width:
            lines[-1] += f"{_GAP}{mark} {legend.WORDS[cell]}"
            used += len(_GAP) + shown
        else:
            lines.append(f"{mark} {legend.WORDS[cell]}")
            used = shown
    return "\n".join(lines)
