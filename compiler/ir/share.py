"""Equal parts of expressions as one object, so that what is done by object is done once."""

from __future__ import annotations

from collections.abc import Sequence

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.traverse import children, rebuild, rewrite

_PLACE = e.Bool(False)
"""Stands where a node's children go, in what two nodes are compared by."""


@remembered
def shared(root: Expr) -> Expr:
    """An equal expression in which equal parts are the same object. Their spans are the first's."""
    return shared_by_all((root,))[0]


def shared_by_all(roots: Sequence[Expr]) -> tuple[Expr, ...]:
    """The same of several expressions, which share their parts too."""
    known: dict[object, Expr] = {}

    def rule(x: Expr) -> Expr:
        # The children are shared already: their identity says what they are.
        below = children(x)
        own = rebuild(x, (_PLACE,) * len(below)) if below else x
        value = repr(x.value) if isinstance(x, e.Float) else None  # 0.0 is not -0.0
        return known.setdefault((own, value, *map(id, below)), x)

    return tuple([rewrite(root, rule) for root in roots])
