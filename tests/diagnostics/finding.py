"""Everything the front end has to say about a text, as users meet it."""

from __future__ import annotations

from attnlang.compiler.check import check_module, open_module, select
from attnlang.compiler.diagnostics.model import Diagnostic, PatternError
from attnlang.compiler.syntax.parse import decode


def findings(name: str, data: bytes) -> tuple[Diagnostic, ...]:
    """The diagnostics of a file that is meant to hold a pattern."""
    try:
        module = open_module(decode(name, data))
        found = check_module(module)
        if not found and not module.tree.patterns:
            select(module, None)
    except PatternError as error:
        return error.diagnostics
    return found
