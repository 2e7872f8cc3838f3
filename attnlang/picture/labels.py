"""Titles and labels made safe to draw, and how long they will be."""

import math

_NARROW = frozenset(" !'(),-./:;I[]fijlrt|")
_WIDE = frozenset("MW@%mw")


def printable(text: str) -> str:
    """The text on one line, with what no terminal or XML file should receive replaced.

    >>> printable("window\\n\\x1b[31m")
    'window \\ufffd[31m'
    """
    spaced = " ".join(text.split())
    return "".join(char if char.isprintable() else "\ufffd" for char in spaced)


def cut(text: str, width: int) -> str:
    """The text shortened to `width` characters, with a mark where it was cut.

    >>> cut("neighbourhood", 8)
    'neighbo~'
    """
    return text if len(text) <= width else text[: max(width - 1, 0)] + "~"[:width]


def pixels(text: str, size: int, *, bold: bool = False) -> int:
    """About how wide the text will be drawn; generous, as the reader's fonts are not known.

    >>> pixels("head 0", 10) < pixels("MMMMMM", 10)
    True
    """
    ems = sum(0.4 if c in _NARROW else 0.97 if c in _WIDE else 0.65 for c in text)
    return math.ceil(ems * size * (1.12 if bold else 1.0))
