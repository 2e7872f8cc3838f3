"""The canonical text of a module: what ``attnlang fmt`` writes.

One blank line between declarations; inside a block the author's single blank lines stay. A line
beyond 100 columns breaks inside brackets. Comments keep their place, at the end of a line or on
lines of their own; one from inside an expression moves above its statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import assert_never

from attnlang.compiler.source import Source, Span
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.expression_text import (
    bracket_item,
    format_expression,
    name_text,
    statement_value,
)
from attnlang.compiler.syntax.layout import (
    INDENT,
    SOFT,
    WIDTH,
    Doc,
    Group,
    Nest,
    bracketed,
    lines,
    one_line,
)
from attnlang.compiler.syntax.placement import Role, Row, indentation, merged

__all__ = ["format_expression", "format_module"]


def format_module(module: t.Module) -> str:
    """The canonical text; parsing it gives an equal module with the same comments."""
    source = module.span.source
    commented = frozenset(c.line for c in module.comments)
    rows = [row for d in module.declarations for row in _declaration(d, commented)]
    if module.doc is not None:
        rows.insert(0, _text(module.doc, 0, source, 1))
    out: list[str] = []
    for row in merged(rows, module.comments, source):
        if row.blank:
            out.append("")
        pad = " " * (INDENT * row.depth)
        written = lines(row.doc, len(pad))
        written[0] = pad + written[0]
        if row.trailing:
            written[-1] += "  " + row.trailing
        out.extend(written)
    return "".join(line + "\n" for line in out)


def _declaration(node: t.Function | t.Pattern, commented: frozenset[int]) -> Iterator[Row]:
    yield from _header(node, commented)
    if node.doc is not None:
        yield _text(node.doc, 1, node.span.source, _last_line(node.span) + 1)
    match node:
        case t.Pattern():
            for statement in node.body:
                yield from _statement(statement, 1, commented)
        case t.Function():
            for let in node.lets:
                yield from _statement(let, 1, commented)
            yield _return(node)
        case _:
            assert_never(node)


def _header(node: t.Function | t.Pattern, commented: frozenset[int]) -> Iterator[Row]:
    """``pattern p(...):`` on one row, or a row for each parameter."""
    function = isinstance(node, t.Function)
    opening = ("def " if function else "pattern ") + node.name.id
    returns = node.returns if isinstance(node, t.Function) else None
    closing = f" -> {format_type(returns)}:" if returns is not None else ":"
    parameters = [_parameter(p) for p in node.parameters]
    first, last = node.span.begin.line, _last_line(node.span)
    brackets = bracketed("(", parameters, ")") if parameters or function else ""
    flat = one_line((opening, brackets, closing))
    inside = any(line in commented for line in range(first, last))
    if not parameters or (len(flat) <= WIDTH and not inside):
        yield _row(0, flat, Role.HEADER, node.span, last=last, opens=True)
        return
    yield _row(
        0, opening + "(", Role.HEADER, node.span, last=node.name.span.finish.line, opens=True
    )
    for parameter, doc in zip(node.parameters, parameters, strict=True):
        yield _row(1, (doc, ","), Role.PART, parameter.span)
    yield Row(0, ")" + closing, Role.CLOSING, last, last, 0, opens=True)


def _parameter(node: t.Parameter) -> Doc:
    default: Doc = "" if node.default is None else (" = ", bracket_item(node.default))
    return Group((node.name.id, ": ", _type(node.type), default))


def format_type(node: t.TypeName) -> str:
    """``int``, ``float[head]`` or ``a | b``."""
    return one_line(_type(node))


def _type(node: t.TypeName) -> Doc:
    name = " | ".join(n.id for n in node.names)
    return (name, bracketed("[", map(bracket_item, node.dims), "]")) if node.dims else name


def _return(node: t.Function) -> Row:
    text, value = node.span.source.text, node.value.span
    start = max(text.rfind("return", node.span.start, value.start), node.span.start)
    span = Span(node.span.source, start, node.span.end)
    return _row(1, ("return ", statement_value(node.value)), Role.STATEMENT, span)


def _statement(node: t.Statement, depth: int, commented: frozenset[int]) -> Iterator[Row]:
    match node:
        case t.Attend() | t.Select() | t.Assign(value=t.Attend()):
            yield from _clause(node, depth, commented)
        case t.Heads():
            doc = Group(("heads[", Nest((SOFT, _range(node.start, node.stop))), SOFT, "]:"))
            yield _row(
                depth, doc, Role.STATEMENT, node.span, last=_last_line(node.span), opens=True
            )
            for inner in node.body:
                yield from _statement(inner, depth + 1, commented)
        case t.Repeat():
            opening = (f"for {node.name.id} in ", statement_value(node.values), ":")
            yield _row(
                depth, opening, Role.STATEMENT, node.span, last=_last_line(node.span), opens=True
            )
            for inner in node.body:
                yield from _statement(inner, depth + 1, commented)
        case _:
            yield _row(depth, _simple(node), Role.STATEMENT, node.span)


def _range(start: t.Expression | None, stop: t.Expression | None) -> str:
    """``:2``, but ``: heads // 2``: the colon stands apart from what is more than a word."""
    first, last = (format_expression(x) if x is not None else "" for x in (start, stop))
    if all(x is None or isinstance(x, t.Name | t.Number) for x in (start, stop)):
        return f"{first}:{last}"
    return f"{first} : {last}".strip()


def _simple(
    node: t.Over
    | t.Extra
    | t.Input
    | t.Require
    | t.Let
    | t.Paper
    | t.Fidelity
    | t.Part
    | t.Pool
    | t.Assign
    | t.Result,
) -> Doc:
    match node:
        case t.Over():
            side = f"{node.side.id}: " if node.side else ""
            return f"over {side}{', '.join(a.id for a in node.axes)}"
        case t.Extra():
            size: Doc = (": ", statement_value(node.size)) if node.size is not None else ""
            return (
                f"{node.place} {node.name.id}",
                size,
                f" on {node.side.id}" if node.side else "",
            )
        case t.Input():
            flags = "".join(f" {f.id}" for f in node.flags)
            return (f"input {node.name.id}: ", _type(node.type), flags)
        case t.Require():
            message = "" if node.message is None else f", {_quoted(node.message)}"
            return ("require ", statement_value(node.condition), message)
        case t.Let():
            return (f"let {name_text(node.name)} = ", statement_value(node.value))
        case t.Part():
            return (f"part {name_text(node.name)} = ", statement_value(node.value))
        case t.Pool():
            axes = ", ".join(map(name_text, node.axes))
            value: Doc = statement_value(node.value)
            where: Doc = ""
            if node.where is not None:
                flat = format_expression(node.value)
                value = flat if len(flat) <= WIDTH // 2 else value  # the condition breaks first
                where = (" where ", statement_value(node.where))
            return (f"pool {name_text(node.name)}[{axes}] = ", value, where)
        case t.Assign():
            assert not isinstance(node.value, t.Attend)
            return (f"{name_text(node.name)} = ", statement_value(node.value))
        case t.Result():
            return ("return ", statement_value(node.value))
        case t.Paper():
            return f"paper {_quoted(node.title)}" + "".join(_field(*f) for f in node.fields)
        case t.Fidelity():
            return f"fidelity {node.level.id}"
        case _:
            assert_never(node)


def _field(name: str, value: str) -> str:
    plain = name == "year" and value.isascii() and value.isdigit() and len(value) < 6
    return f" {name} {value if plain else _quoted(value)}"


def _clause(
    node: t.Attend | t.Select | t.Assign, depth: int, commented: frozenset[int]
) -> Iterator[Row]:
    """The condition, and below it one row for each option; a lone ``empty`` stays on the line."""
    clause = node.value if isinstance(node, t.Assign) else node
    assert isinstance(clause, t.Attend | t.Select)
    head = _opening(clause)
    if isinstance(node, t.Assign):
        head = f"{name_text(node.name)} = {head}"
    last = _closed(clause.where.span)
    rule = clause.options[0] if len(clause.options) == 1 else None
    if isinstance(rule, t.Rule) and rule.when is None:
        where, named = format_expression(clause.where), format_expression(rule.rule)
        flat = f"{head} where {where} {rule.kind} {named}"
        between = range(last, rule.span.begin.line)
        if len(flat) + INDENT * depth <= WIDTH and not any(line in commented for line in between):
            yield _row(depth, flat, Role.STATEMENT, node.span)
            return
    opening: Doc = (f"{head} where ", statement_value(clause.where))
    yield _row(depth, opening, Role.STATEMENT, node.span, last=last)
    for option in clause.options:
        yield _row(depth + 1, _option(option), Role.PART, option.span)


def _opening(node: t.Attend | t.Select) -> str:
    sources = ", ".join(format_expression(x) for x in node.sources)
    if isinstance(node, t.Select):
        dims = ", ".join(map(name_text, node.dims))
        return f"select {name_text(node.name)}[{dims}] from {sources}"
    words = ["attend", "linear" if node.linear else "", sources]
    return " ".join(w for w in words if w)


def _option(node: t.Option | t.Rule | t.Gather) -> Doc:
    when: Doc = "" if node.when is None else (" when ", statement_value(node.when))
    return (_unguarded(node), when)


def _unguarded(node: t.Option | t.Rule | t.Gather) -> Doc:
    if isinstance(node, t.Rule):
        word = isinstance(node.rule, t.Name)  # which stands in no parentheses
        return (
            f"{node.kind} ",
            format_expression(node.rule) if word else statement_value(node.rule),
        )
    if isinstance(node, t.Gather):
        times = () if node.weight is None else ("weight ", statement_value(node.weight), " ")
        rows = "rows " if node.rows else ""
        return (f"gather {rows}{node.rule.id} ", *times, "where ", statement_value(node.where))
    per = f" per {', '.join(map(name_text, node.per))}" if node.per else ""
    return (f"{node.kind} ", statement_value(node.value), per)


_CLOSING_QUOTES = re.compile(r'"{2,}|"\Z')


def _text(doc: str, depth: int, source: Source, after: int) -> Row:
    """A docstring. The tree does not say where it stood: the first string from a line on."""
    pad = " " * (INDENT * depth)
    body = _CLOSING_QUOTES.sub(lambda m: '\\"' * len(m[0]), doc.replace("\\", "\\\\"))
    if "\n" in body:
        first, *rest = body.split("\n")
        body = "\n".join([first, *(line and pad + line for line in rest), pad])
    text = f'"""{body}"""'
    at = after
    while at < source.line_count and not source.line(at).lstrip().startswith('"'):
        at += 1
    column = indentation(source.line(at)) if at <= source.line_count else 0
    return Row(depth, text, Role.TEXT, at, at, column)


def _quoted(text: str) -> str:
    for plain, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(plain, escape)
    return f'"{text}"'


def _row(
    depth: int, doc: Doc, role: Role, span: Span, *, last: int = 0, opens: bool = False
) -> Row:
    """A row for what stands at ``span``, down to line ``last`` if that is not the span's end."""
    begin = span.begin
    written = span.source.line(begin.line)[: begin.column - 1]
    column = len(written.expandtabs(8))
    return Row(depth, doc, role, begin.line, last or span.finish.line, column, opens)


def _last_line(span: Span) -> int:
    """The line on which the logical line that starts at ``span`` ends: brackets join lines."""
    text, at, opened = span.source.text, span.start, 0
    while at < len(text) and (text[at] != "\n" or opened):
        if text[at] == "#":
            at = _line_end(text, at)
            continue
        opened += (text[at] in "([") - (text[at] in ")]")
        at = _line_end(text, at) + 1 if text[at] == "\\" else at + 1
    return span.source.position(at).line


def _closed(span: Span) -> int:
    """The line on which an expression ends, the parentheses around it included."""
    text, at, end = span.source.text, span.end, span.end
    while at < len(text) and (text[at].isspace() or text[at] in "#)"):
        if text[at] == "#":
            at = _line_end(text, at)
        elif text[at] == ")":
            end = at
        at += 1
    return span.source.position(end).line


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
