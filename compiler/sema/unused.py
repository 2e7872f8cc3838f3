"""What is declared and read nowhere: allowed, and probably a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.syntax import tree as t

_STEPS = t.Pool | t.Select | t.Assign
_NAMED = t.Parameter | t.Input | t.Let | t.Part | _STEPS
"""What warns where it is unused. Axes and tokens beside the grid are there whether read or not."""
_WORDS = {(t.Keyword, "name"), (t.TypeName, "names")}
"""Names that mean an argument, a kind or a choice."""


def unused(declared: t.Function | t.Pattern, report: Report) -> None:
    """Report (AL501) what a function or a pattern without mistakes declares for nothing."""
    inside = [x for field, x in t.named_children(declared) if field != "name"]
    required = {n for x in inside if isinstance(x, t.Require) for n in _read(x)}
    read = {n for x in inside if not isinstance(x, t.Require) for n in _read(x)}
    for node in _declarations(declared):
        name = node.name
        copied = re.sub(r"_\d+$", "@", name.id)
        if name.id in read or copied in read:
            continue
        label = "only `require` reads it" if name.id in required else "nothing reads it"
        report.add(
            "AL501", name.span, label, what=f"{_kind(node)} `{name.id}`", help=_help(node)
        )  # fmt: skip


def _declarations(node: t.Node) -> Iterator[_NAMED]:
    """Those of a declaration, with what groups of heads and repetitions hold."""
    for x in t.children(node):
        if isinstance(x, _NAMED):
            yield x
        elif isinstance(x, t.Heads | t.Repeat):
            yield from _declarations(x)


def _read(node: t.Node) -> Iterator[str]:
    """The names that a node reads, wherever they stand in it; ``near@`` for any ``near_2``."""
    if isinstance(node, t.Name):
        yield node.id
        yield from () if node.copy is None else (f"{node.id}@",)
    for field, x in t.named_children(node):
        own = field == "name" and isinstance(node, _NAMED | t.Extra | t.Repeat)
        if not own and (type(node), field) not in _WORDS:
            yield from _read(x)


def _kind(node: _NAMED) -> str:
    match node:
        case t.Parameter():
            return "parameter"
        case t.Input():
            return "input"
        case t.Let():
            return "name"
        case t.Part():
            return "part"
        case _:
            return "step"


def _help(node: _NAMED) -> str:
    match node:
        case t.Parameter():
            return "whatever its value, nothing changes: read it somewhere, or remove it"
        case t.Input():
            return "callers have to give it for nothing: read it somewhere, or remove it"
        case t.Pool() | t.Select() | t.Assign():
            return "it does not run: read it in another step or in `return`, or remove it"
        case _:
            return "read it somewhere, or remove it"
