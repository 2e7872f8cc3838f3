"""``dot(...)`` in a score: learned vectors against a query, a key, or a function of both.

It is read as an entry of a table that is made before the attention. ``dot(q, table[...])`` has one
for every query and every vector: relative keys of Shaw et al. (2018), Music Transformer (2018).
``dot(tanh(q + k), table[head])`` has one for every pair: additive scores of Bahdanau et al. (2014).
"""

from __future__ import annotations

from typing import Literal

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.program import PairProduct, Product
from attnlang.compiler.ir.vector import ELEMENTWISE
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.scope import Context, TableName
from attnlang.compiler.syntax import tree as t

FORM = "`dot(q, table[...])`: a query or key, and a table read without its last dimension"
OPERATIONS: tuple[Literal["+", "-", "*"], ...] = ("+", "-", "*")


def product(node: t.Call, ctx: Context) -> Expr | None:
    """The entry of the product's table; AL104 for anything but the one form."""
    if ctx.products is None:
        ctx.error("AL104", node.span, name="dot", reason="stands only in `score`")
        return None
    if len(node.arguments) != 2 or node.keywords:
        ctx.error("AL104", node.span, name="dot", reason="takes two arguments", help=FORM)
        return None
    token, entry = node.arguments
    pair = _pair(token)
    if pair is not None:
        return _of_pairs(node, pair, entry, ctx)
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


def _pair(node: t.Expression) -> tuple[str, Literal["+", "-", "*"]] | None:
    """The function and the operation of ``tanh(q + k)``."""
    function = ""
    if isinstance(node, t.Call) and node.function.id in ELEMENTWISE and len(node.arguments) == 1:
        function, node = node.function.id, node.arguments[0]
    match node:
        case t.Binary(op=op, left=t.Name(id="q"), right=t.Name(id="k")):
            return next(((function, o) for o in OPERATIONS if o == op), None)
        case _:
            return None


def _of_pairs(
    node: t.Call, pair: tuple[str, Literal["+", "-", "*"]], entry: t.Expression, ctx: Context
) -> Expr | None:
    """The entry of a pair: the vector is the same for all of a head, or of all heads."""
    assert ctx.products is not None
    read = entry.base if isinstance(entry, t.Subscript) else entry
    table = ctx.names.get(read.id) if isinstance(read, t.Name) else None
    by_head = isinstance(entry, t.Subscript)
    own = isinstance(entry, t.Subscript) and [
        typed(i, ctx, (Kind.INT,), "an index") for i in entry.indices
    ] != [e.Symbol(SymbolName.HEAD)]
    if not isinstance(table, TableName) or table.rank != 1 + by_head or own:
        reason = "multiplies what is made of a pair with one vector: `dot(tanh(q + k), w[head])`"
        ctx.error("AL104", node.span, name="dot", reason=reason)
        return None
    function, op = pair
    word = {"+": "plus", "-": "minus", "*": "times"}[op]
    name = f"{function}_q_{word}_k_dot_{table.name}"
    while name in ctx.names:
        name += "_"
    ctx.products[name] = PairProduct(name, function, op, table.name, by_head)
    indices = (e.Symbol(SymbolName.HEAD), e.Index(Side.Q), e.Index(Side.K))
    return e.Table(name, Kind.FLOAT, indices, span=node.span)


def _is_read(node: t.Expression) -> bool:
    return isinstance(node, t.Subscript) and isinstance(node.base, t.Name)
