"""One pattern with every function it needs, as a file of its own."""

from __future__ import annotations

from collections.abc import Iterable

from attnlang.compiler.check import Module, prelude
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.printer import format_module


def standalone(module: Module, pattern: t.Pattern) -> str:
    """Canonical text that does not depend on the prelude it is read with.

    Functions come first, each in the order of its file; comments stay behind.
    """
    needed = _needed(pattern, module)
    library = tuple(f for f in prelude().functions if needed.get(f.name.id) is f)
    own = tuple(f for f in module.tree.functions if needed.get(f.name.id) is f)
    text = format_module(t.Module(None, (*own, pattern), span=module.tree.span))
    if not library:
        return text
    return format_module(t.Module(None, library, span=prelude().span)) + "\n" + text


def _needed(pattern: t.Pattern, module: Module) -> dict[str, t.Function]:
    """The functions that a pattern calls, and those that they call."""
    found: dict[str, t.Function] = {}
    open_names = list(_calls(pattern))
    while open_names:
        name = open_names.pop()
        function = module.functions.get(name)
        if function is not None and name not in found:
            found[name] = function
            open_names.extend(_calls(function))
    return found


def _calls(root: t.Node) -> Iterable[str]:
    stack: list[t.Node] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, t.Call):
            yield node.function.id
        stack.extend(t.children(node))
