"""Numbers beside tensors: of one token, its head, and its features, which are called ``channel``.

The token becomes the query of the expression that is made, the channel its key.
"""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.values import literal
from attnlang.compiler.ir.vector import CHANNEL
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.scope import AxisName, Context, ValueName


def with_channel(ctx: Context) -> Context:
    """The context in which ``channel`` is a feature, unless the pattern has that name."""
    if ctx.names.get(CHANNEL, AxisName(CHANNEL)) != AxisName(CHANNEL):
        return ctx
    return ctx.with_names(**{CHANNEL: ValueName(e.Coord(Side.K, CHANNEL))})


def as_query(value: Expr) -> Expr:
    """What is read of the key's token as read of the query's."""

    def swap(x: Expr) -> Expr | None:
        match x:
            case e.Coord(side=Side.K, axis=axis) if axis != CHANNEL:
                return e.Coord(Side.Q, axis, span=x.span)
            case e.Index(side=Side.K):
                return e.Index(Side.Q, span=x.span)
            case e.InSegment(side=Side.K, segment=segment):
                return e.InSegment(Side.Q, segment, span=x.span)
            case e.TokenInput(side=Side.K, name=name, kind=kind):
                return e.TokenInput(Side.Q, name, kind, span=x.span)
            case _:
                return None

    return rewrite(value, swap)


def closed(root: Expr, draft: Draft) -> Expr:
    """The expression with parameters that have one value replaced by it."""
    values = dict(draft.values)

    def rule(x: Expr) -> Expr | None:
        value = values.get(x.name) if isinstance(x, e.Param) and x.axis is None else None
        if value is None or isinstance(value, str | tuple):
            return None
        return literal(value, x.kind)  # type: ignore[union-attr]

    return simplify(rewrite(root, rule))


def without(root: Expr, leaf: Expr) -> Expr:
    """The expression with a number in place of a leaf."""
    return rewrite(root, lambda x: e.Int(0) if x == leaf else None)
