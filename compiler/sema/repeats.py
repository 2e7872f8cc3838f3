"""``for level in range(levels):`` and the copies of what is defined there, ``near@level``.

Everything is put in place here: what is behind this file reads ordinary statements, in which
``near@2`` is the name ``near_2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.scope import ValueName
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.limits import MAX_COPIES

Repeated = t.Let | t.Part | t.Pool | t.Select | t.Assign
"""The statements that a ``for`` repeats: each defines a name."""
Written = TypeVar("Written", bound=t.Node)

_WORDS = {(t.Call, "function"), (t.Keyword, "name"), (t.Rule, "rule"), (t.Gather, "rule")}
"""The names that mean a function, an argument or a rule, whatever a ``for`` defines."""


def repeat(node: t.Repeat, draft: Draft, statement: Callable[[t.Statement, Draft], None]) -> None:
    """Check the statements of one ``for`` once for each value of its name."""
    values = _range(node.values, draft)
    inside: list[Repeated] = []
    for s in node.body:
        if isinstance(s, Repeated):
            inside.append(s)
        else:
            draft.ctx.error("AL308", s.span, "not inside `for`")
    for s in inside:
        if s.name.copy is not None:
            _wrong(draft, s.name.span, "a name defined here is that of every copy, without `@`")
        elif s.name.id in draft.defined:
            draft.define(s.name)  # which says where it is defined already
    if values is None:
        draft.lost |= {s.name.id for s in inside}
    if not draft.define(node.name):
        return
    for value in values or ():
        number = ValueName(e.Int(value, span=node.name.span))
        draft.ctx = draft.ctx.with_names(**{node.name.id: number})
        draft.copies = {s.name.id: _copy(s.name.id, value) for s in inside}
        for s in inside:
            if draft.ctx.spend(s.span):
                statement(s, draft)
    draft.copies = {}
    names = {n: b for n, b in draft.ctx.names.items() if n != node.name.id}
    draft.ctx = replace(draft.ctx, names=names)
    del draft.defined[node.name.id]


def named(node: t.Statement, draft: Draft) -> t.Statement | None:
    """A statement with the names of copies in it; None (AL316) where one is not known.

    The body of a ``for`` stays as it is: it is read once for each copy.
    """
    before = draft.ctx.report.errors
    if isinstance(node, t.Repeat):
        made: t.Statement = replace(node, values=_named(node.values, draft))
    else:
        made = _named(node, draft)
    if draft.ctx.report.errors == before:
        return made
    if isinstance(node, Repeated):
        draft.fail(node.name)
    return None


def _named(node: Written, draft: Draft, word: bool = False) -> Written:
    if isinstance(node, t.Name):
        if node.copy is not None:
            value = _number(_named(node.copy, draft), draft, "the number of a copy")
            if value is None:
                return node
            copy = replace(node, id=_copy(node.id, value), copy=None)
            if node.id in draft.lost and copy.id not in draft.defined:
                draft.fail(copy)
            return copy
        return node if word else replace(node, id=draft.copies.get(node.id, node.id))
    made: dict[str, object] = {}
    for f in fields(node):
        inner = getattr(node, f.name)
        if isinstance(inner, t.Node):
            made[f.name] = _named(inner, draft, word or (type(node), f.name) in _WORDS)
        elif isinstance(inner, tuple):
            made[f.name] = tuple(_named(x, draft) if isinstance(x, t.Node) else x for x in inner)
    return replace(node, **made)  # type: ignore[arg-type]


def _copy(name: str, value: int) -> str:
    return f"{name}_{value}"


def _range(node: t.Expression, draft: Draft) -> range | None:
    """The values of ``range(stop)`` or ``range(start, stop)``; None after a mistake."""
    form = isinstance(node, t.Call) and node.function.id == "range" and not node.keywords
    if not form or not isinstance(node, t.Call) or len(node.arguments) not in (1, 2):
        _wrong(draft, node.span, "its values are those of `range(stop)` or `range(start, stop)`")
        return None
    ends = [_number(x, draft, "an end of `range`") for x in node.arguments]
    known = [x for x in ends if x is not None]
    if len(known) < len(ends):
        return None
    start, stop = (0, *known)[-2:]
    if stop - start > MAX_COPIES:
        _wrong(draft, node.span, f"{stop - start} times, and {MAX_COPIES} are allowed")
        return None
    return range(start, stop)


def _number(node: t.Expression, draft: Draft, what: str) -> int | None:
    """A whole number, from 0, that parameters and earlier numbers say."""
    found = typed(node, draft.ctx, (Kind.INT,), what)
    if found is None:
        return None
    given = dict(draft.values)
    known: dict[e.Expr, int | float] = {
        e.Param(d.name, d.kind): v
        for d in draft.declared
        if d.kind is not None and isinstance(v := given.get(d.name), int | float)
    }
    value = value_of(found, known)
    if value is None:
        why = f"{what}, `{node.span.text}`, is known only to a call"
        help = "it is computed from numbers and from parameters that have a value"
        _wrong(draft, node.span, why, help)
    elif value < 0:
        _wrong(draft, node.span, f"{what} is {value}, below 0")
    else:
        return int(value)
    return None


def _wrong(draft: Draft, span: Span, why: str, help: str | None = None) -> None:
    draft.ctx.error("AL316", span, why=why, help=help)


def check_outside(node: t.Function | t.Pattern, report: Report) -> None:
    """Report copies (AL316) where nothing is repeated: in functions, and among parameters."""
    found: list[t.Node] = [node] if isinstance(node, t.Function) else list(node.parameters)
    while found:
        here = found.pop()
        if isinstance(here, t.Name) and here.copy is not None:
            report.add("AL316", here.span, why="copies are those of statements of a pattern")
        found.extend(t.children(here))
