"""Delta debugging: the smallest text and call found that still fail in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, get_args

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.parse import parse
from attnlang.compiler.syntax.printer import format_module
from tests.soak.case import Case

EXPRESSIONS = get_args(t.Expression)
DROPPED = (t.Option, t.Rule, t.Input, t.Extra, t.Let, t.Require, t.Parameter, t.Keyword)
"""What may be left out of a list."""
LITERALS = (t.Number(0), t.Number(1), t.Name("true"), t.Name("false"))


def smallest(case: Case, fails: Callable[[Case], bool], patience: int = 2000) -> Case:
    """Greedily: the first smaller case that fails is taken, until none does or patience ends."""
    while True:
        for smaller in candidates(case):
            patience -= 1
            if patience < 0:
                return case
            if fails(smaller):
                case = smaller
                break
        else:
            return case


def candidates(case: Case) -> Iterator[Case]:
    """Cases that are smaller by one step: of the call, then of the text."""
    yield from _calls(case)
    module = parse(Source("soak", case.text))
    for made in variants(module):
        try:
            text = format_module(made)
            parse(Source("soak", text))
        except (PatternError, AssertionError, AttributeError, ValueError, TypeError):
            continue
        if (len(text), text) < (len(case.text), case.text):
            yield replace(case, text=text)


def _calls(case: Case) -> Iterator[Case]:
    for name, size in case.sizes.items():
        for less in sorted({size // 2, size - 1} - {size}):
            if less >= 0:
                yield replace(case, sizes={**case.sizes, name: less})
    for name in ("heads", "kv_heads", "batch", "width", "value_width"):
        if getattr(case, name) > 1:
            yield replace(case, **{name: getattr(case, name) // 2})
    if case.kv_heads > 1 and case.heads > 1:
        yield replace(case, heads=case.heads // case.kv_heads, kv_heads=1)
    if case.params:
        yield replace(case, params={})
    if case.q_offset:
        yield replace(case, q_offset=case.q_offset // 2)


def variants(node: Any) -> Iterator[Any]:
    """The tree with one part left out, or with one of its own parts or a literal in its place."""
    if isinstance(node, EXPRESSIONS) and not isinstance(node, (t.Name, t.Number)):
        yield from (x for x in _below(node) if isinstance(x, EXPRESSIONS))
        yield from LITERALS
    if not dataclasses.is_dataclass(node):
        return
    for part in dataclasses.fields(node):
        value = getattr(node, part.name)
        if isinstance(value, t.Node):
            yield from (_with(node, part.name, v) for v in variants(value))
        elif isinstance(value, tuple):
            for i, x in enumerate(value):
                before, after = value[:i], value[i + 1 :]
                if isinstance(x, DROPPED):
                    yield _with(node, part.name, (*before, *after))
                if isinstance(x, t.Node):
                    yield from (_with(node, part.name, (*before, v, *after)) for v in variants(x))


def _below(node: t.Node) -> Iterator[Any]:
    """The parts directly below."""
    for part in dataclasses.fields(node):
        value = getattr(node, part.name)
        yield from value if isinstance(value, tuple) else (value,)


def _with(node: Any, name: str, value: object) -> Any:
    return replace(node, **{name: value})
