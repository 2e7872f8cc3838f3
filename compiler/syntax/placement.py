"""Where comments and blank lines go among the rows of a printed module."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.layout import Doc


class Role(Enum):
    TEXT = auto()
    """A docstring."""
    HEADER = auto()
    """The first row of a function or pattern."""
    PART = auto()
    """A parameter of a header that takes several rows, or an option of an ``attend``."""
    CLOSING = auto()
    """The last row of such a header."""
    STATEMENT = auto()
    COMMENT = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """A piece of a module that starts on a line of its own.

    ``first``, ``last``, ``column``: where it was written (lines from 1). ``opens``: the rows
    after it stand deeper. ``blank``: a blank line goes above.
    """

    depth: int
    doc: Doc
    role: Role
    first: int = 0
    last: int = 0
    column: int = 0
    opens: bool = False
    blank: bool = False
    trailing: str = ""


def merged(rows: list[Row], comments: tuple[t.Comment, ...], source: Source) -> Iterator[Row]:
    """The rows with every comment among them, ``blank`` and ``trailing`` filled in."""
    above: Row | None = None
    for row, line in _with_comments(rows, comments, source):
        above = replace(row, blank=_blank(row, above, line, source))
        yield above


def _with_comments(
    rows: list[Row], comments: tuple[t.Comment, ...], source: Source
) -> Iterator[tuple[Row, int]]:
    """Rows in order, each with the source line above which a blank line counts (0: none does)."""
    before, trailing = _assigned(rows, comments)
    columns: dict[int, int] = {}
    deepest = 0
    for i, row in enumerate([*rows, None]):
        line = row.first if row is not None else 0
        for c in before[i]:
            if row is not None and c.line >= row.first:  # from inside the row: moved above it
                yield Row(row.depth, c.text, Role.COMMENT), line
                line = 0
            else:
                deepest = _depth(c, deepest, row, columns, source)
                yield Row(deepest, c.text, Role.COMMENT), c.line if c.own_line else 0
        if row is not None:
            columns[row.depth] = row.column
            deepest = row.depth
            yield replace(row, trailing=trailing.get(i, "")), line


def _assigned(
    rows: list[Row], comments: tuple[t.Comment, ...]
) -> tuple[dict[int, list[t.Comment]], dict[int, str]]:
    """Comments by the index of the row they stand before, and those that end a row."""
    firsts, lasts = [r.first for r in rows], [r.last for r in rows]
    before: dict[int, list[t.Comment]] = defaultdict(list)
    trailing: dict[int, str] = {}
    for c in comments:
        following = bisect_right(lasts, c.line)
        here = bisect_right(firsts, c.line) - 1
        if (
            not c.own_line
            and here >= 0
            and lasts[here] == c.line
            and rows[here].role is not Role.TEXT
        ):
            trailing[here] = c.text
        else:
            before[following].append(c)
    return before, trailing


def _depth(
    c: t.Comment, deepest: int, row: Row | None, columns: dict[int, int], source: Source
) -> int:
    """A comment at the end of a block stays in it if it was indented as deep as the block."""
    if row is None:
        lowest = 0
    else:
        lowest = row.depth + (row.role is Role.CLOSING)
    if c.own_line and c.line <= source.line_count:
        column = indentation(source.line(c.line))
        for depth in range(deepest, lowest, -1):
            if column >= columns.get(depth, 0):
                return depth
    return lowest


def _blank(row: Row, above: Row | None, line: int, source: Source) -> bool:
    if above is None or row.role in (Role.PART, Role.CLOSING):
        return False
    if row.depth == 0 and not (above.role is Role.COMMENT and above.depth == 0):
        return True
    if above.opens:
        return False
    return 1 < line <= source.line_count and not source.line(line - 1).strip()


def indentation(line: str) -> int:
    """How many columns a line is indented, tabs reaching the next multiple of 8."""
    wide = line.expandtabs(8)
    return len(wide) - len(wide.lstrip())
