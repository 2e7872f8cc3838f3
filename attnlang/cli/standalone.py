"""One pattern with every function it needs, as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from attnlang.compiler.check import Module, prelude
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.printer import format_module

N = TypeVar("N", bound=t.Node)


def standalone(module: Module, pattern: t.Pattern) -> str:
    """Canonical text that does not depend on the prelude it is read with.

    Functions come first, each in the order of its file; comments stay behind. A function of the
    prelude that has the pattern's name is given another.
    """
    needed = _needed(pattern, module)
    library = tuple(f for f in prelude().functions if needed.get(f.name.id) is f)
    own = tuple(f for f in module.tree.functions if needed.get(f.name.id) is f)
    name = pattern.name.id
    if name in needed:
        other = name + "_"
        while other in module.functions:
            other += "_"
        library = tuple(_renamed(f, name, other) for f in library)
        own = tuple(_renamed(f, name, other) for f in own)
        called = _renamed(pattern, name, other)
        pattern = replace(called, name=pattern.name)
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


def _calls(root: t.Node) -> Iterator[str]:
    stack: list[t.Node] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, t.Call):
            yield node.function.id
        stack.extend(t.children(node))


def _renamed(node: N, old: str, new: str) -> N:
    """The same tree, where a function has another name: at its definition and its calls."""
    changed: dict[str, Any] = {}
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, t.Node):
            changed[f.name] = _renamed(value, old, new)
        elif isinstance(value, tuple):
            changed[f.name] = tuple(
                _renamed(item, old, new) if isinstance(item, t.Node) else item for item in value
            )
    if isinstance(node, t.Call) and node.function.id == old:
        changed["function"] = replace(node.function, id=new)
    if isinstance(node, t.Function) and node.name.id == old:
        changed["name"] = replace(node.name, id=new)
    return replace(node, **changed)
