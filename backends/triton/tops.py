"""Which `row_max` a score reads."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.pattern import Attend
from attnlang.compiler.ir.traverse import walk


def tops(attend: Attend) -> tuple[e.Apply, ...]:
    """Every ``row_max`` of a score; those that others read come before these."""
    score = attend.score
    return () if score is None else tuple(sorted(_within(score), key=lambda x: len(_within(x))))


def _within(x: Expr) -> dict[e.Apply, None]:
    parts = (n for n in walk(x) if isinstance(n, e.Apply))
    return dict.fromkeys(n for n in parts if n.function == "row_max")
