"""``weight(chosen[head, q.n, k.b])``: what a pair counts in a set, with its score's slope."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.program import weights_of
from attnlang.compiler.sema.expressions import expression
from attnlang.compiler.sema.scope import Context, TableName
from attnlang.compiler.syntax import tree as t

WEIGHT = "weight"


def weight(node: t.Call, ctx: Context) -> Expr | None:
    """The entry of the set's table of weights; AL104 for anything but a set that has one."""
    read = node.arguments[0] if len(node.arguments) == 1 and not node.keywords else None
    name = read.base.id if isinstance(read, t.Subscript) and isinstance(read.base, t.Name) else ""
    table = ctx.names.get(name)
    if read is None or not isinstance(table, TableName) or not table.dims:
        form = "`weight(chosen[head, q.n, k.b])`"
        ctx.error("AL104", node.span, name=WEIGHT, reason="takes an entry of a set", help=form)
        return None
    if not table.weighed:
        help = "its `select` says `gradient scores` or `gradient straight_through`"
        reason = f"finds none: `{name}` is chosen without a gradient"
        ctx.error("AL104", read.span, name=WEIGHT, reason=reason, help=help)
        return None
    entry = expression(read, ctx)
    if not isinstance(entry, e.Table):
        return None
    return e.Table(weights_of(name), Kind.FLOAT, entry.indices, span=node.span)
