"""Parse tree -> syntax tree, bottom up and without recursion: untrusted texts may be deep."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lark import Token, Tree

from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.source import Source, Span
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.limits import MAX_DEPTH, MAX_INTEGER

Children = list[Any]
"""Built nodes, tokens, tuples and None (an absent optional), in source order."""


def build(parsed: Tree[Token], source: Source, comments: tuple[t.Comment, ...]) -> t.Module:
    """The module of one parsed text.

    Raises PatternError for numbers out of range and for expressions nested too deep.
    """
    built: dict[int, Any] = {}
    depth: dict[int, int] = {}
    starts = _comment_starts(comments, source)
    for node in parsed.iter_subtrees():
        span = _span(node, source, starts)
        children = [built[id(c)] if isinstance(c, Tree) else c for c in node.children]
        children = [_token(c, source) if isinstance(c, Token) else c for c in children]
        below = (depth[id(c)] for c in node.children if isinstance(c, Tree))
        depth[id(node)] = 1 + max(below, default=0)
        if depth[id(node)] > MAX_DEPTH:
            raise failure("AL005", span, "this is the part nested too deep", limit=MAX_DEPTH)
        rule = str(node.data)
        maker = _MAKERS.get(rule)
        built[id(node)] = maker(children, span) if maker else tuple(children)
    declarations = built[id(parsed)]
    doc = next((d for d in declarations if isinstance(d, str)), None)
    return t.Module(
        doc,
        tuple(d for d in declarations if isinstance(d, t.Function | t.Pattern)),
        comments,
        span=Span(source, 0, len(source.text)),
    )


def _comment_starts(comments: tuple[t.Comment, ...], source: Source) -> dict[int, int]:
    """Where the comment that ends at an offset starts."""
    starts: dict[int, int] = {}
    for c in comments:
        end = source.line_start(c.line) + len(source.line(c.line).rstrip())
        starts[end] = end - len(c.text)
    return starts


def _span(node: Tree[Token], source: Source, comment_starts: dict[int, int]) -> Span:
    if node.meta.empty:
        return Span(source, 0, 0)
    end = node.meta.end_pos
    while end > node.meta.start_pos:  # statements end with their newline: spans do not
        if source.text[end - 1 : end].isspace() or end > len(source.text):
            end -= 1
        elif end in comment_starts:
            end = comment_starts[end]
        else:
            break
    return Span(source, node.meta.start_pos, end)


def _token(token: Token, source: Source) -> Any:
    start = token.start_pos or 0
    span = Span(source, start, start + len(token))
    match token.type:
        case "NAME":
            return t.Name(str(token), span=span)
        case "NUMBER":
            return _number(str(token), span)
        case "STRING":
            return _string(str(token))
        case _:
            return str(token)


def _number(text: str, span: Span) -> t.Number:
    value: int | float
    if any(ch in text for ch in ".eE"):
        value = float(text)
        if value == float("inf"):
            raise failure("AL006", span, limit="the range of a 64-bit float")
    elif len(text) > 20 or int(text) > MAX_INTEGER:
        raise failure("AL006", span, limit=MAX_INTEGER)
    else:
        value = int(text)
    return t.Number(value, span=span)


def _string(text: str) -> str:
    """The text of a string, without its escapes and the indentation all its lines share."""
    quotes = 3 if text.startswith('"""') else 1
    body = re.sub(r'\\([nt"\\])', lambda m: _ESCAPES[m[1]], text[quotes:-quotes])
    written = [line.rstrip() for line in body.expandtabs(8).strip().split("\n")]
    margin = min((len(line) - len(line.lstrip()) for line in written[1:] if line), default=0)
    return "\n".join([written[0], *(line[margin:] for line in written[1:])])


_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def _flatten(op: Any) -> Callable[[Children, Span], t.Expression]:
    return lambda c, span: c[0] if len(c) == 1 else t.Boolean(op, tuple(c), span=span)


def _compare(c: Children, span: Span) -> t.Compare:
    return t.Compare(tuple(c[0::2]), tuple(c[1::2]), span=span)


def _negative(c: Children, span: Span) -> t.Expression:
    sign, operand = c
    if sign == "+":
        return operand  # type: ignore[no-any-return]
    if isinstance(operand, t.Number):
        return t.Number(-operand.value, span=span)
    return t.Negative(operand, span=span)


def _call(c: Children, span: Span) -> t.Call:
    arguments = c[1] or ()
    return t.Call(
        c[0],
        tuple(a for a in arguments if not isinstance(a, t.Keyword)),
        tuple(a for a in arguments if isinstance(a, t.Keyword)),
        span=span,
    )


def _function(c: Children, span: Span) -> t.Function:
    name, parameters, returns, body = c
    doc = body[0] if isinstance(body[0], str) else None
    lets = tuple(n for n in body if isinstance(n, t.Let))
    return t.Function(name, parameters or (), returns, doc, lets, body[-1], span=span)


def _pattern(c: Children, span: Span) -> t.Pattern:
    name, parameters, body = c
    doc = body[0] if isinstance(body[0], str) else None
    return t.Pattern(name, parameters or (), doc, body[1 if doc is not None else 0 :], span=span)


def _paper(c: Children, span: Span) -> t.Paper:
    return t.Paper(c[0], tuple(c[1:]), span=span)


def _field(c: Children, span: Span) -> tuple[str, str]:
    name, value = c
    # arXiv ids look like numbers but are not: 2401.10200 keeps its zeros.
    return (name.id, value.span.text if isinstance(value, t.Number) else value)


def _without_none(c: Children) -> tuple[Any, ...]:
    return tuple(x for x in c if x is not None)


def _attend(c: Children, span: Span) -> t.Attend:
    linear, sources, where, *options = c
    return t.Attend(where, _options(options), sources or (), linear is not None, span=span)


def _select(c: Children, span: Span) -> t.Select:
    name, dims, sources, where, *options = c
    return t.Select(name, dims, sources, where, _options(options), span=span)


def _options(items: Children) -> tuple[Any, ...]:
    """Those behind the condition, and those of the lines below it."""
    found: list[Any] = []
    for item in items:
        found.extend(item if isinstance(item, tuple) else [item] if item is not None else [])
    return tuple(found)


def _option(kind: Any) -> Callable[[Children, Span], t.Option]:
    return lambda c, span: t.Option(kind, c[0], (c[1] or ()) if len(c) > 1 else (), span=span)


def _rule(kind: Any) -> Callable[[Children, Span], t.Rule]:
    return lambda c, span: t.Rule(kind, c[0], span=span)


_MAKERS: dict[str, Callable[[Children, Span], Any]] = {
    "docstring": lambda c, span: c[0],
    "function": _function,
    "function_body": lambda c, span: _without_none(c),
    "return_": lambda c, span: c[0],
    "pattern": _pattern,
    "block": lambda c, span: _without_none(c),
    "parameters": lambda c, span: _without_none(c),
    "parameter": lambda c, span: t.Parameter(c[0], c[1], c[2], span=span),
    "plain_type": lambda c, span: t.TypeName((c[0],), c[1] or (), span=span),
    "enum_type": lambda c, span: t.TypeName(tuple(c), span=span),
    "paper": _paper,
    "paper_field": _field,
    "fidelity": lambda c, span: t.Fidelity(c[0], span=span),
    "over": lambda c, span: t.Over(c[0], c[1], span=span),
    "dims": lambda c, span: tuple(c),
    "names": lambda c, span: _without_none(c),
    "prefix": lambda c, span: t.Extra("prefix", c[0], c[1], c[2], span=span),
    "suffix": lambda c, span: t.Extra("suffix", c[0], c[1], c[2], span=span),
    "input": lambda c, span: t.Input(c[0], c[1], tuple(c[2:]), span=span),
    "flag": lambda c, span: c[0],
    "require": lambda c, span: t.Require(c[0], c[1], span=span),
    "let": lambda c, span: t.Let(c[0], c[1], span=span),
    "heads": lambda c, span: t.Heads(c[0][0], c[0][1], tuple(c[1:]), span=span),
    "repeat": lambda c, span: t.Repeat(c[0], c[1], tuple(c[2:]), span=span),
    "copied": lambda c, span: t.Name(c[0].id, c[1], span=span),
    "labels": lambda c, span: _without_none(c),
    "slice": lambda c, span: (c[0], c[1]),
    "attend": _attend,
    "sources": lambda c, span: tuple(c),
    "option_line": lambda c, span: tuple(c),
    "choice_line": lambda c, span: tuple(c),
    **{kind: _option(kind) for kind in ("score", "softcap", "scale", "sink", "gain", "decay")},
    **{kind: _option(kind) for kind in ("delta", "top", "above", "mass", "force")},
    **{kind: _rule(kind) for kind in ("empty", "normalise", "share", "ties", "search")},
    **{kind: _rule(kind) for kind in ("weigh", "gradient")},
    "guarded": lambda c, span: replace(c[0], when=c[1], span=span),
    "gather": lambda c, span: t.Gather(c[1], c[2], c[3], c[0] is not None, span=span),
    "part": lambda c, span: t.Part(c[0], c[1], span=span),
    "pool": lambda c, span: t.Pool(c[0], c[1], c[2], c[3], span=span),
    "select": _select,
    "assign": lambda c, span: t.Assign(c[0], c[1], span=span),
    "result": lambda c, span: t.Result(c[0], span=span),
    "conditional": lambda c, span: t.Conditional(c[1], c[0], c[2], span=span),
    "disjunction": _flatten("or"),
    "conjunction": _flatten("and"),
    "not_": lambda c, span: t.Not(c[0], span=span),
    "compare": _compare,
    "member": lambda c, span: t.Member(c[0], c[1], span=span),
    "binary": lambda c, span: t.Binary(c[1], c[0], c[2], span=span),
    "negative": _negative,
    "attribute": lambda c, span: t.Attribute(c[0], c[1], span=span),
    "subscript": lambda c, span: t.Subscript(c[0], c[1], span=span),
    "call": _call,
    "number": lambda c, span: c[0],
    "name": lambda c, span: c[0],
    "tuple": lambda c, span: t.Tuple(_without_none(c), span=span),
    "arguments": lambda c, span: _without_none(c),
    "call_arguments": lambda c, span: _without_none(c),
    "keyword": lambda c, span: t.Keyword(c[0], c[1], span=span),
}
