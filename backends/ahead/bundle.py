"""Several modules of ours as one file that stands alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

OURS = "attnlang"


def bundled(doc: str, modules: Sequence[str]) -> str:
    """One module's text with all that the modules define, in the order given.

    Imports of one another are left out, others come first, once. Raises ValueError where two
    modules mean different things by a name, or one imports what is not among them.
    """
    plain: set[str] = set()
    froms: dict[str, set[str]] = {}
    bodies: list[str] = []
    known: dict[str, str] = {}
    for name in modules:
        text = source(name)
        lines = text.splitlines()
        for i, node in enumerate(ast.parse(text).body):
            start, stop = _start(node) - 1, node.end_lineno or 0
            part = "\n".join(lines[start:stop])
            again = False
            match node:
                case ast.ImportFrom(module=str(module)) if module.startswith(OURS):
                    if module not in modules:
                        raise ValueError(f"{name} imports {module}, which does not come along")
                    again = True
                case ast.ImportFrom(module=str(module), names=names):
                    if module != "__future__":
                        froms.setdefault(module, set()).update(x.name for x in names)
                    again = True
                case ast.Import():
                    plain.add(part)
                    again = True
                case ast.Expr(value=ast.Constant()) if i == 0:
                    again = True
                case _:
                    for one in _names(node):
                        again = one in known
                        if known.setdefault(one, part) != part:
                            raise ValueError(f"{name} has another `{one}`")
            if again:
                lines[start:stop] = [""] * (stop - start)
        bodies.append("\n".join(lines).strip())
    kept = re.sub(r"\n{4,}", "\n\n\n", "\n\n\n".join(bodies))
    imports = sorted(plain) + [
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(froms.items())
    ]
    head = [f'"""{doc}"""', "", "from __future__ import annotations", "", *imports]
    return "\n".join(head) + f"\n\n\n{kept}\n"


def _start(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def source(module: str) -> str:
    """The text of a module that need not be imported."""
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_text(encoding="utf-8")


def defined(module: str) -> list[str]:
    """What a module defines."""
    return [name for node in ast.parse(source(module)).body for name in _names(node)]


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [x.id for x in targets if isinstance(x, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []
