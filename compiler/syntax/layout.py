"""Text that may break over lines: groups stay on one line if they fit, else break throughout.

    Doc = str | tuple of Docs | Line | Nest | Group | Broken

After Wadler, "A prettier printer" (2003), with consistent breaking: the lines directly inside
a group are all spaces or all new lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, assert_never

WIDTH = 100
INDENT = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A new line where its group breaks, ``flat`` where it does not."""

    flat: str = " "


@dataclass(frozen=True, slots=True)
class Nest:
    """Lines inside stand one level deeper."""

    body: Doc


@dataclass(frozen=True, slots=True)
class Group:
    body: Doc


@dataclass(frozen=True, slots=True)
class Broken:
    """Text that is there only where its group breaks."""

    text: str


Doc: TypeAlias = "str | tuple[Doc, ...] | Line | Nest | Group | Broken"
SOFT = Line("")
_Work: TypeAlias = "list[tuple[int, bool, Doc]]"
"""Indentation, does the group break, and what is to be written; the next one last."""


def joined(parts: Iterable[Doc], between: Doc) -> Doc:
    made: list[Doc] = []
    for part in parts:
        if made:
            made.append(between)
        made.append(part)
    return tuple(made)


def bracketed(opening: str, items: Iterable[Doc], closing: str) -> Doc:
    """A list in brackets: on one line, or one item a line with a comma after each."""
    parts = tuple(items)
    if not parts:
        return opening + closing
    inside = joined(parts, (",", Line()))
    return Group((opening, Nest((SOFT, inside, Broken(","))), SOFT, closing))


def lines(doc: Doc, indent: int, width: int = WIDTH) -> list[str]:
    """The lines of a document that starts ``indent`` columns in (not written on the first)."""
    made = [""]
    column = indent
    work: _Work = [(indent, True, doc)]
    while work:
        depth, breaks, part = work.pop()
        match part:
            case str():
                made[-1] += part
                column += len(part)
            case tuple():
                work.extend((depth, breaks, p) for p in reversed(part))
            case Nest():
                work.append((depth + INDENT, breaks, part.body))
            case Group():
                fits = _fits(part.body, work, width - column)
                work.append((depth, not fits, part.body))
            case Broken():
                if breaks:
                    work.append((depth, breaks, part.text))
            case Line():
                if breaks:
                    made.append(" " * depth)
                    column = depth
                else:
                    work.append((depth, breaks, part.flat))
            case _:
                assert_never(part)
    return made


def one_line(doc: Doc) -> str:
    """The document with no group broken."""
    made: list[str] = []
    work = [doc]
    while work:
        match part := work.pop():
            case str():
                made.append(part)
            case tuple():
                work.extend(reversed(part))
            case Nest() | Group():
                work.append(part.body)
            case Line():
                work.append(part.flat)
            case Broken():
                pass
            case _:
                assert_never(part)
    return "".join(made)


def _fits(doc: Doc, rest: _Work, room: int) -> bool:
    """Does a group fit on the line, together with what follows up to the next line break?"""
    work: _Work = [(0, False, doc)]
    following = len(rest)
    while room >= 0:
        if not work:
            if following == 0:
                return True
            following -= 1
            work.append(rest[following])
        _, breaks, part = work.pop()
        match part:
            case str():
                room -= len(part)
            case tuple():
                work.extend((0, breaks, p) for p in reversed(part))
            case Nest():
                work.append((0, breaks, part.body))
            case Group():
                work.append((0, False, part.body))  # a group that follows directly counts whole
            case Broken():
                room -= len(part.text) if breaks else 0
            case Line():
                if breaks:
                    return True
                room -= len(part.flat)
            case _:
                assert_never(part)
    return False
