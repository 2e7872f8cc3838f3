"""The one renderer for people: location, source line, caret spans, notes and help."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from attnlang.compiler.diagnostics.model import Diagnostic, Label, Severity

_RED, _YELLOW, _BLUE, _CYAN, _BOLD, _RESET = (
    "\x1b[31m",
    "\x1b[33m",
    "\x1b[34m",
    "\x1b[36m",
    "\x1b[1m",
    "\x1b[0m",
)
_MAX_COLUMNS = 160
"""Longer source lines are shown as a window around the caret."""


def render(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """All diagnostics as text, a blank line between them, a count at the end."""
    found = tuple(diagnostics)
    parts = [_one(d, color) for d in found]
    counts = ((s, sum(d.severity is s for d in found)) for s in Severity)
    several = [f"{count} {severity}s" for severity, count in counts if count > 1]
    if several:
        parts.append(", ".join(several))
    return "\n\n".join(parts)


def _one(d: Diagnostic, color: bool) -> str:
    tint = _RED if d.severity is Severity.ERROR else _YELLOW
    lines = [_paint(f"{d.severity}[{d.code}]", _BOLD + tint, color) + f": {_visible(d.message)}"]
    labels = ((d.primary,) if d.primary else ()) + d.secondary
    gutter = max((len(str(_printable_line(label))) for label in labels), default=1)
    for i, label in enumerate(labels):
        lines.extend(_snippet(label, gutter, i == 0, tint, color))
    lines.extend(f"{' ' * gutter} = note: {_visible(note)}" for note in d.notes)
    if d.help:
        lines.append(f"{' ' * gutter} = {_paint('help', _CYAN, color)}: {_visible(d.help)}")
    return "\n".join(lines)


def _snippet(label: Label, gutter: int, first: bool, tint: str, color: bool) -> list[str]:
    span = label.span
    begin, finish = span.begin, span.finish
    bar = _paint("|", _BLUE, color)
    arrow = _paint("-->" if first else ":::", _BLUE, color)
    where = f"{_visible(span.source.name)}:{begin.line}:{begin.column}"
    text = span.source.line(begin.line)
    length = (
        finish.column - begin.column if finish.line == begin.line else len(text) - begin.column + 1
    )
    shown, caret_at = _window(_visible(text), begin.column - 1)
    width = sum(_cells(ch) for ch in shown[caret_at : caret_at + length])
    mark = ("^" if first else "-") * max(1, width)
    words = f" {_visible(label.text)}" if label.text else ""
    pad = "".join("\t" if ch == "\t" else " " * _cells(ch) for ch in shown[:caret_at])
    number = _paint(f"{begin.line:>{gutter}}", _BLUE, color)
    blank = " " * gutter
    return [
        f"{blank}{arrow} {where}",
        f"{blank} {bar}",
        f"{number} {bar} {shown}",
        f"{blank} {bar} {pad}{_paint(mark + words, tint if first else _BLUE, color)}",
    ]


def _window(text: str, column: int) -> tuple[str, int]:
    """The part of a long line around ``column``, and the column's place in it."""
    if len(text) <= _MAX_COLUMNS:
        return text, column
    start = max(0, min(column - _MAX_COLUMNS // 2, len(text) - _MAX_COLUMNS))
    shown = text[start : start + _MAX_COLUMNS]
    if start > 0:
        shown = "..." + shown[3:]
    if start + _MAX_COLUMNS < len(text):
        shown = shown[:-3] + "..."
    return shown, column - start


def _cells(ch: str) -> int:
    """How many columns a terminal gives a character."""
    if unicodedata.combining(ch):
        return 0
    return 2 if unicodedata.east_asian_width(ch) in ("W", "F") else 1


def _visible(text: str) -> str:
    """Control characters of untrusted text made harmless for a terminal, one column each."""
    return "".join(
        ch if ch == "\t" or ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text
    )


def _printable_line(label: Label) -> int:
    return label.span.begin.line


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color else text
