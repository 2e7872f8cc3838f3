"""``dot(q, table[...])`` in a score: a query (or key) against learned vectors.

It is read as an entry of a table that is made before the attention, one for every query and every
vector: relative keys of Shaw et al. (2018) and Music Transformer (2018).
"""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.program import Product
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.scope import Context, TableName
from attnlang.compiler.syntax import tree as t

FORM = "`dot(q, table[...])`: a query or key, and a table read without its last dimension"


def product(node: t.Call, ctx: Context) -> Expr | None:
    """The entry of the product's table; AL104 for anything but the one form."""
    if ctx.products is None:
        ctx.error("AL104", node.span, name="dot", reason="stands only in `score`")
        return None
    if len(node.arguments) != 2 or node.keywords:
        ctx.error("AL104", node.span, name="dot", reason="takes two arguments", help=FORM)
        return None
    token, entry = node.arguments
    table = ctx.names.get(entry.base.id) if _is_read(entry) else None  # type: ignore[union-attr]
    if (
        not isinstance(token, t.Name)
        or token.id not in ("q", "k")
        or not isinstance(entry, t.Subscript)
        or not isinstance(table, TableName)
        or table.kind is not Kind.FLOAT
    ):
        ctx.error("AL104", node.span, name="dot", reason="multiplies other things", help=FORM)
        return None
    if len(entry.indices) != table.rank - 1:
        ctx.error(
            "AL205",
            entry.span,
            name=table.name,
            expected=f"{table.rank - 1} indices: all dimensions but the vectors' own",
            found=len(entry.indices),
        )
        return None
    indices = [typed(i, ctx, (Kind.INT,), f"an index of `{table.name}`") for i in entry.indices]
    made = [i for i in indices if i is not None]
    if len(made) < len(indices):
        return None
    side = Side(token.id)
    head = e.Symbol(SymbolName.HEAD)
    by_head = bool(made) and made[0] == head
    if any(i == head for i in made[1:]):
        ctx.error("AL104", node.span, name="dot", reason="takes `head` as the first index")
        return None
    name = f"{side}_dot_{table.name}"
    while name in ctx.names:
        name += "_"
    ctx.products[name] = Product(name, side, table.name, by_head)
    own = head if side is Side.Q or by_head else e.Symbol(SymbolName.KV_HEAD)
    rest = made[1:] if by_head else made
    return e.Table(name, Kind.FLOAT, (own, e.Index(side), *rest), span=node.span)


def _is_read(node: t.Expression) -> bool:
    return isinstance(node, t.Subscript) and isinstance(node.base, t.Name)
