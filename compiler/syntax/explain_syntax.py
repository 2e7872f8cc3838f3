"""Why a token was not expected, in the words of someone who writes patterns."""

from __future__ import annotations

from attnlang.compiler.diagnostics.model import Diagnostic
from attnlang.compiler.diagnostics.report import diagnostic
from attnlang.compiler.diagnostics.suggest import nearest
from attnlang.compiler.source import Source, Span
from lark import Token

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
)
OPTIONS = ("score", "softcap", "scale", "sink", "empty")
_FOREIGN = {
    "for": "the language has no loops: say which pairs attend with one expression over q and k",
    "while": "the language has no loops: say which pairs attend with one expression over q and k",
    "import": "the prelude is always there; other functions are written in the same file",
    "lambda": "write a function: `def name(...) -> bool:`",
    "class": "a file holds functions (`def`) and patterns (`pattern`)",
    "is": "equality is `==`",
    "mask": "pairs are chosen with `attend where ...`",
    "elif": "choose with an expression: `a if condition else b`",
    "if": "choose with an expression: `a if condition else b`",
    "return": "a pattern ends in `attend where ...`; only functions `return`",
}
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
    "$END": "the end of the text",
}


def explain_unexpected(token: Token, accepts: set[str], source: Source) -> Diagnostic:
    """The diagnostic for one unexpected token, given the terminals that would have fitted."""
    span = _span(token, source)
    text = str(token).strip()
    if token.type == "_INDENT":
        return diagnostic(
            "AL012",
            _line_indent(token, source),
            "indented for no reason",
            help="only the lines below a `:` or an `attend` are indented",
        )
    if token.type in {"_NL", "_DEDENT", "$END"}:
        return _line_too_short(span, accepts)
    if accepts == {"_INDENT"}:
        return diagnostic("AL016", span, "comes before the block", help=_EMPTY_BLOCK)
    if text in _FOREIGN:
        return diagnostic("AL010", span, found=f"`{text}`", help=_FOREIGN[text])
    if text == "=" and "COMPARE" in accepts:
        return diagnostic("AL010", span, "assigns", found="`=`", help="comparison is `==`")
    if "ATTEND" in accepts or "PATTERN" in accepts:
        known = STATEMENTS if "ATTEND" in accepts else ("pattern", "def")
        best = nearest(text, known)
        help = f"did you mean `{best}`?" if best else f"a line here starts with {_list(known)}"
        return diagnostic("AL010", span, "starts no statement", found=f"`{text}`", help=help)
    if "SCORE" in accepts and token.type == "NAME":
        best = nearest(text, (*OPTIONS, "and", "or"))
        if best:
            return diagnostic("AL010", span, found=f"`{text}`", help=f"did you mean `{best}`?")
    return diagnostic("AL010", span, found=f"`{text}`", help=_expected(accepts))


def _line_too_short(span: Span, accepts: set[str]) -> Diagnostic:
    if "COLON" in accepts and not accepts & {"NAME", "NUMBER"}:
        return diagnostic("AL013", span, "`:` expected here")
    if "_INDENT" in accepts or "ATTEND" in accepts:
        return diagnostic("AL016", span, help=_EMPTY_BLOCK)
    return diagnostic("AL010", span, found="the end of the line", help=_expected(accepts))


def _expected(accepts: set[str]) -> str | None:
    words = sorted(_READABLE.get(a, f"`{a.lower()}`") for a in accepts if a != "_NL")
    if "NAME" in accepts and "NUMBER" in accepts:
        return "an expression is expected here"
    if not words or len(words) > 12:
        return None
    return f"expected {_list(tuple(dict.fromkeys(words)), ticks=False)}"


def _list(words: tuple[str, ...], *, ticks: bool = True) -> str:
    shown = [f"`{w}`" for w in words] if ticks else list(words)
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " or " + shown[-1]


def _span(token: Token, source: Source) -> Span:
    start = token.start_pos if token.start_pos is not None else len(source.text)
    start = min(start, len(source.text))
    if token.type in {"_NL", "_DEDENT", "$END"}:
        while start > 0 and (start >= len(source.text) or source.text[start - 1].isspace()):
            start -= 1
            if not source.text[start].isspace():
                start += 1
                break
        return Span(source, start, start + 1)
    return Span(source, start, start + max(1, len(str(token))))


def _line_indent(token: Token, source: Source) -> Span:
    line = token.end_line or token.line or 1
    line = min(line, source.line_count)
    text = source.line(line)
    start = source.line_start(line)
    return Span(source, start, start + max(1, len(text) - len(text.lstrip())))
