"""What the Triton backend does not run. Knows no torch, so that anyone can ask."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.traverse import walk


def refuses(pattern: PatternIR) -> tuple[str, ...]:
    """Why this backend cannot run a pattern; empty when it can."""
    by_head = {i.name for i in pattern.inputs if "head" in i.dims and i.sides}
    for group in pattern.groups:
        for x in walk(group.attend.where):
            if isinstance(x, e.TokenInput) and x.name in by_head:
                return (f"an input per head (`{x.name}`) in `where`",)
    return ()
