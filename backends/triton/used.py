"""Of the functions in ``helpers.py``, those that a module's kernels call."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

HELPERS = Path(__file__).with_name("helpers.py")


def helpers(texts: Iterable[str]) -> str:
    """Imports, and the functions that these texts call, by themselves or through one another."""
    wanted = {name for text in texts for name in _called(ast.parse(text))}
    functions = _functions()
    for name, (_, calls) in reversed(functions.items()):
        if name in wanted:
            wanted |= calls
    parts = [_imports(), *(text for name, (text, _) in functions.items() if name in wanted)]
    return "\n\n\n".join(parts) + "\n"


@cache
def _functions() -> dict[str, tuple[str, frozenset[str]]]:
    """Text of each function, and what it calls: of the helpers, only those above it."""
    text = HELPERS.read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: (
            "\n".join(lines[node.decorator_list[0].lineno - 1 : node.end_lineno]),
            frozenset(_called(node)),
        )
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
    }


def _called(tree: ast.AST) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


@cache
def _imports() -> str:
    """The lines by which ``helpers.py`` gets its names."""
    body = ast.parse(HELPERS.read_text(encoding="utf-8")).body
    return "\n".join(ast.unparse(x) for x in body if isinstance(x, ast.Import | ast.ImportFrom))
