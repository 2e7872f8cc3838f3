"""Why a text does not parse, in the words of someone who writes patterns."""

from __future__ import annotations

import re

from lark import Token

from attnlang.compiler.diagnostics.model import Diagnostic
from attnlang.compiler.diagnostics.report import diagnostic
from attnlang.compiler.diagnostics.suggest import nearest
from attnlang.compiler.source import Source, Span
from attnlang.compiler.syntax.foreign import CHARACTERS, WORDS

STATEMENTS = (
    "over",
    "prefix",
    "suffix",
    "input",
    "require",
    "let",
    "heads",
    "attend",
    "paper",
    "fidelity",
    "part",
    "pool",
    "select",
    "return",
    "for",
)
OPTIONS = ("score", "softcap", "scale", "sink", "empty", "normalise", "gain", "decay", "delta")
CHOICES = (
    *("score", "scale", "normalise", "share", "gather"),
    *("force", "top", "above", "mass", "ties", "search", "weigh", "gradient"),
)
_EMPTY_BLOCK = "a block holds at least one statement, indented by 4 spaces"
_READABLE = {
    "COLON": "`:`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "LPAR": "`(`",
    "LSQB": "`[`",
    "EQUAL": "`=`",
    "COMMA": "`,`",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": 'a "string"',
    "_NL": "the end of the line",
    "_INDENT": "an indented block",
    "_DEDENT": "the end of the block",
    "COMPARE": "a comparison",
    "ADD": "`+` or `-`",
    "MUL": "`*`, `/`, `//` or `%`",
    "DOT": "`.`",
    "AT": "`@`",
    "VBAR": "`|`",
    "$END": "the end of the text",
}


def explain_unexpected(token: Token, accepts: set[str], source: Source) -> Diagnostic:
    """The diagnostic for one unexpected token, given the terminals that would have fitted."""
    span = _span(token, source)
    text = str(token).strip()
    if token.type == "_INDENT":
        line = source.position(token.end_pos or 0).line
        hint = _tabs(source.line(line)) or "only the lines below a `:` or an `attend` are indented"
        return _indentation(line, source, "indented for no reason", hint)
    if token.type in {"_NL", "_DEDENT", "$END"}:
        return _line_too_short(span, accepts, source)
    if accepts == {"_INDENT"}:
        return diagnostic("AL016", _line_above(span), "its block is missing", help=_EMPTY_BLOCK)
    before = re.search(r"(\w+)[ \t]+\Z", source.text[max(0, span.start - 40) : span.start])
    if before and before[1] in ("if", "for", "while", "elif", "lambda") and text not in WORDS:
        span, text = Span(source, span.start - len(before[0]), span.start), before[1]
        span = Span(source, span.start, span.start + len(text))
    if text == "*" and source.text[span.start - 1 : span.start] == "*":
        span, text = Span(source, span.start - 1, span.end), "**"
    first = re.search(r"^([ \t]*)(\w+)[ \t]*\Z", _line_before(source, span.start))
    if "EQUAL" in accepts <= {"EQUAL", "AT"} and first and first[2] not in ("part", "let"):
        # `overs n`: a word that starts no statement may have been meant for a tensor's name.
        at = span.start - len(_line_before(source, span.start)) + len(first[1])
        span, text = Span(source, at, at + len(first[2])), first[2]
        accepts = {"ATTEND"}
    label = ""
    if text in WORDS:
        help: str | None = WORDS[text]
    elif "ATTEND" in accepts or "PATTERN" in accepts:
        label, help = "starts no statement", _no_statement(text, accepts, span)
    else:
        help = _instead(token, text, accepts, source)
    return diagnostic("AL010", span, label, found=f"`{text}`", help=help)


def explain_character(at: int, source: Source) -> Diagnostic:
    """The diagnostic for a character no token begins with."""
    start, end, ch = at, at + 1, source.text[at : at + 1]
    help = CHARACTERS.get(ch)
    if ch.isalnum():
        while start > 0 and (source.text[start - 1].isalnum() or source.text[start - 1] == "_"):
            start -= 1
        while end < len(source.text) and (source.text[end].isalnum() or source.text[end] == "_"):
            end += 1
        help = help or "names are made of the letters a to z, digits and `_`"
    elif ch in "&|=!":
        while source.text[end : end + 1] == ch:
            end += 1
    found = f"`{source.text[start:end]}`" if ch.isprintable() else f"U+{ord(ch):04X}"
    return diagnostic(
        "AL010", Span(source, start, end), "not part of the language", found=found, help=help
    )


def explain_dedent(at: int, source: Source) -> Diagnostic:
    """The diagnostic for a line whose indentation matches no open block."""
    line = source.position(at).line
    hint = _tabs(source.line(line)) or "indent with 4 spaces for each block"
    return _indentation(line, source, "matches no block above", hint)


def explain_end(source: Source) -> Diagnostic:
    end = len(source.text)
    return diagnostic("AL010", Span(source, end, end), found="end of the text")


def _no_statement(text: str, accepts: set[str], span: Span) -> str:
    known = STATEMENTS if "ATTEND" in accepts else ("pattern", "def")
    if text in OPTIONS and "ATTEND" in accepts:
        return f"`{text}` belongs to an `attend`: indent it below that line"
    if "ATTEND" in accepts and re.match(r"\s*:?=(?!=)", span.source.text[span.end : span.end + 40]):
        return f"definitions start with `let`: `let {text} = ...`"
    if text in STATEMENTS:
        return f"`{text}` stands inside a `pattern`, indented by 4 spaces"
    best = nearest(text, known)
    return f"did you mean `{best}`?" if best else f"a line here starts with {_list(known)}"


def _instead(token: Token, text: str, accepts: set[str], source: Source) -> str | None:
    """What could have stood in place of a token inside a statement."""
    if text == "=" and "COMPARE" in accepts:
        return "comparison is `==`"
    if accepts == {"_NL"}:
        colon = source.text[: token.start_pos].rstrip().endswith(":")
        return (
            "the block starts on the next line, indented" if colon else "the line should end here"
        )
    if accepts == {"COLON"} and text in ("=", ",", ")"):
        return "every parameter has a type: `name: int`"
    if accepts == {"COLON"} and text == "]":
        return "a group of heads is a range: `heads[0:1]:`"
    if token.type == "LSQB" and {"NAME", "NUMBER"} <= accepts:
        return "several values are written in parentheses: `(7, 7)`"
    if token.type == "STRING" and {"NAME", "NUMBER"} <= accepts:
        return "texts are not values; choices are plain names, as in `edge == clamp`"
    if "SCORE" in accepts and token.type == "NAME":
        best = nearest(text, (*OPTIONS, "and", "or"))
        if best:
            return f"did you mean `{best}`?"
    if "MUL" in accepts and token.type in ("NAME", "NUMBER", "STRING", "LPAR"):
        missing = "an operator or a `,`" if "COMMA" in accepts else "an operator"
        return f"{missing} is missing before it"
    return _expected(accepts)


def _line_too_short(span: Span, accepts: set[str], source: Source) -> Diagnostic:
    line = source.line(span.begin.line).split()
    if "COLON" in accepts and not accepts & {"NAME", "NUMBER"}:
        if line[:1] != ["input"]:
            return diagnostic("AL013", span, "`:` expected here")
        help: str | None = "an input has a type: `input doc: int[batch, n]`"
    elif "_INDENT" in accepts or "ATTEND" in accepts:
        return diagnostic("AL016", span, help=_EMPTY_BLOCK)
    elif "RETURN" in accepts:
        help = "a function ends in `return` and a value"
    elif "WHERE" in accepts and "attend" in line:
        help = "say which pairs: `attend where` and a condition over q and k"
    elif line[-1:] == ["empty"]:
        help = "say what such a row gives: `zero`, `self`, `full` or `passthrough`"
    elif {"NAME", "NUMBER"} <= accepts:
        help = "an expression is expected here; one in `( )` may span lines"
    else:
        help = _expected(accepts)
    return diagnostic("AL010", span, found="end of the line", help=help)


def _expected(accepts: set[str]) -> str | None:
    words = sorted(_READABLE.get(a, f"`{a.lower()}`") for a in accepts if a != "_NL")
    if "NAME" in accepts and "NUMBER" in accepts:
        return "an expression is expected here"
    if not words or len(words) > 14:
        return None
    return f"expected {_list(tuple(dict.fromkeys(words)), ticks=False)}"


def _list(words: tuple[str, ...], *, ticks: bool = True) -> str:
    shown = [f"`{w}`" for w in words] if ticks else list(words)
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]


def _span(token: Token, source: Source) -> Span:
    start = token.start_pos if token.start_pos is not None else len(source.text)
    start = min(start, len(source.text))
    if token.type in {"_NL", "_DEDENT", "$END"}:
        start = len(source.text[:start].rstrip())
        return Span(source, start, start + 1)
    return Span(source, start, start + max(1, len(str(token))))


def _line_before(source: Source, at: int) -> str:
    """The text of a line before a place on it."""
    return source.text[source.text.rfind("\n", 0, at) + 1 : at]


def _line_above(span: Span) -> Span:
    """The last line with code before a place: its end."""
    source, number = span.source, span.begin.line - 1
    while number > 1 and re.match(r"\s*(#|$)", source.line(number)):
        number -= 1
    number = max(number, 1)
    end = source.line_start(number) + len(source.line(number).split("#")[0].rstrip())
    return Span(source, end, end + 1)


def _indentation(number: int, source: Source, label: str, help: str) -> Diagnostic:
    line, start = source.line(number), source.line_start(number)
    width = max(1, len(line) - len(line.lstrip()))
    return diagnostic("AL012", Span(source, start, start + width), label, help=help)


def _tabs(line: str) -> str | None:
    indent = line[: len(line) - len(line.lstrip())]
    return "a tab counts as 8 columns: indent with spaces" if "\t" in indent else None
