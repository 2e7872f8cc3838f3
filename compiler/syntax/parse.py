"""Text -> syntax tree, with one clear diagnostic where the text is not a module."""

from __future__ import annotations

import codecs
import functools
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.indenter import DedentError, Indenter

from attnlang.compiler.diagnostics.model import Diagnostic, Label, PatternError
from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.source import Source, Span
from attnlang.compiler.syntax import tree
from attnlang.compiler.syntax.build import build
from attnlang.compiler.syntax.explain_syntax import (
    explain_character,
    explain_dedent,
    explain_end,
    explain_unexpected,
)
from attnlang.compiler.syntax.limits import MAX_BRACKETS, MAX_BYTES


class _Indentation(Indenter):
    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB"]  # noqa: RUF012 (lark declares plain lists)
    CLOSE_PAREN_types = ["RPAR", "RSQB"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 8
    # A keyword is a whole word: without NAME beside it, `overs n` would read as `over s n`.
    always_accept = ("_NL", "NAME")

    def handle_NL(self, token: Token) -> Iterator[Token]:  # noqa: N802 (lark's name)
        try:
            yield from super().handle_NL(token)
        except DedentError:
            raise _UnknownDedent(token.end_pos or 0) from None


class _UnknownDedent(Exception):
    """A line is indented less than the one above, and not as much as any open block."""

    def __init__(self, at: int) -> None:
        self.at = at


_PARSING = threading.Lock()
"""The parser is shared, and its indentation counter belongs to one text at a time."""


@functools.cache
def _parser() -> Lark:
    grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        postlex=_Indentation(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def read_source(path: Path) -> Source:
    """The text of a file. Raises PatternError if it cannot be read as a text of allowed size."""
    name = str(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise failure("AL004", None, name=name, size=size, limit=MAX_BYTES)
        data = path.read_bytes()
    except OSError as error:
        raise failure("AL001", None, name=name, reason=error.strerror or str(error)) from None
    return decode(name, data)


def decode(name: str, data: bytes) -> Source:
    """Bytes as a source; AL002 names the line of the first byte that is not UTF-8."""
    if len(data) > MAX_BYTES:
        raise failure("AL004", None, name=name, size=len(data), limit=MAX_BYTES)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        good = Source(name, data[: error.start].decode("utf-8") + "\N{REPLACEMENT CHARACTER}")
        at = len(good.text) - 1
        raise failure(
            "AL002",
            Span(good, at, at + 1),
            f"byte 0x{data[error.start]:02x}",
            name=name,
            help="save the file as UTF-8",
        ) from None


def parse(source: Source) -> tree.Module:
    """The syntax tree of a whole text. Raises PatternError with the first syntax error."""
    if len(source.text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise failure("AL004", None, name=source.name, size=len(source.text), limit=MAX_BYTES)
    _check_characters(source)
    try:
        with _PARSING:
            parsed = _parser().parse(source.text + "\n")
    except _UnknownDedent as error:
        raise PatternError((explain_dedent(error.at, source),)) from None
    except UnexpectedInput as error:
        raise PatternError((_unexpected(error, source),)) from None
    return build(parsed, source, tuple(comments(source)))


_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Control characters, and those that make text read otherwise than it is ordered."""


def _check_characters(source: Source) -> None:
    """Control characters, open strings, and brackets: unclosed, unopened or too deep."""
    bad = _FORBIDDEN.search(source.text)
    if bad:
        at = bad.start()
        raise failure("AL003", Span(source, at, at + 1), character=f"U+{ord(bad.group()):04X}")
    opened: list[tuple[str, int]] = []
    for at, token in _brackets(source.text):
        if token.startswith('"'):
            help = f"close it with `{token}`"
            if len(token) == 1:
                help += ' on the same line, or write `"""` around it to span lines'
            raise failure("AL014", Span(source, at, at + len(token)), "opened here", help=help)
        if token in "([":
            opened.append((token, at))
            if len(opened) > MAX_BRACKETS:
                raise failure(
                    "AL005", Span(source, at, at + 1), "one bracket too many", limit=MAX_BRACKETS
                )
        elif not opened:
            raise failure("AL011", Span(source, at, at + 1), "closes nothing", bracket=token)
        else:
            opener, place = opened.pop()
            if token != _PARTNER[opener]:
                closer = Label(Span(source, at, at + 1), f"this is no `{_PARTNER[opener]}`")
                raise failure(
                    "AL011",
                    Span(source, place, place + 1),
                    "opened here",
                    bracket=opener,
                    secondary=(closer,),
                )
    if opened:
        opener, place = opened[-1]
        raise failure(
            "AL011",
            Span(source, place, place + 1),
            "never closed",
            bracket=opener,
            help=f"close it with `{_PARTNER[opener]}`",
        )


_PARTNER = {"(": ")", "[": "]"}


def _brackets(text: str) -> Iterator[tuple[int, str]]:
    """Brackets outside strings and comments; the quotes of a string that is left open."""
    i = 0
    while i < len(text):
        ch = text[i]
        if ch == "#":
            end = text.find("\n", i)
            i = len(text) if end < 0 else end
        elif ch == '"':
            quotes = _quotes(text, i)
            end = _string_end(text, i + len(quotes), quotes)
            if end < 0:
                yield i, quotes
                return
            i = end
        else:
            if ch in "()[]":
                yield i, ch
            i += 1


def _quotes(text: str, at: int) -> str:
    return '"""' if text.startswith('"""', at) else '"'


def _string_end(text: str, start: int, quotes: str) -> int:
    i = start
    while i < len(text):
        if text[i] == "\\" and (quotes != '"' or text[i + 1 : i + 2] != "\n"):
            i += 2
        elif text.startswith(quotes, i):
            return i + len(quotes)
        elif quotes == '"' and text[i] == "\n":
            return -1
        else:
            i += 1
    return -1


def comments(source: Source) -> Iterator[tree.Comment]:
    """Every comment of a text that parses, in order."""
    text, i = source.text, 0
    while i < len(text):
        if text[i] == '"':
            quotes = _quotes(text, i)
            end = _string_end(text, i + len(quotes), quotes)
            i = len(text) if end < 0 else end
        elif text[i] == "#":
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            place = source.position(i)
            own = not source.line(place.line)[: place.column - 1].strip()
            yield tree.Comment(place.line, text[i:end].rstrip(), own)
            i = end
        else:
            i += 1


def _unexpected(error: UnexpectedInput, source: Source) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        return explain_character(error.pos_in_stream or 0, source)
    if isinstance(error, UnexpectedToken) and isinstance(error.token, Token):
        return explain_unexpected(error.token, set(error.accepts or ()), source)
    return explain_end(source)
