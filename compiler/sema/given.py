"""Inputs that hold vectors: tensors of a program, beside q, k and v."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.program import Part
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.inputs import declare_input
from attnlang.compiler.sema.scope import ARGUMENTS, TableName, TokenName, ValueName
from attnlang.compiler.syntax import tree as t


def own_input(node: t.Input, draft: Draft) -> None:
    """``input doc: int[batch, n]``: what expressions read, and a tensor if it holds vectors."""
    if node.name.id in ARGUMENTS:
        draft.ctx.error("AL108", node.name.span, "choose another name", name="index")
    new = draft.define(node.name)
    made = declare_input(node, draft.ctx, counts(draft)) if new else None
    if made is None:
        draft.ctx = draft.ctx.with_names(**{node.name.id: ValueName(None)})
    else:
        draft.inputs.append(made)
        name = (
            TokenName(made)
            if made.sides
            else TableName(made.name, made.kind, sum(d != "batch" for d in made.dims))
        )
        draft.ctx = draft.ctx.with_names(**{made.name: name})
        space = tensor_space(node, made, draft) if draft.spaces else None
        if space is not None:
            draft.given[made.name] = draft.spaces[made.name] = space


def counts(draft: Draft) -> dict[str, Expr]:
    """How many tokens each part has: inputs have dimensions of this size."""
    found: dict[str, Expr] = {}
    for part in draft.parts.values():
        found[part.name] = _count(part, found, draft)
    return found


def _count(part: Part, known: dict[str, Expr], draft: Draft) -> Expr:
    if part.own:
        return part.size
    if part.axis == "index":
        length: Expr = e.Int(1)
        for axis in draft.axes[Side.K]:
            length = e.Arith("*", length, e.Length(Side.K, axis))
    elif part.axis in known:
        length = known[part.axis]
    else:
        side = Side.K if part.axis in draft.axes[Side.K] else Side.Q
        length = e.Length(side, part.axis)
    if not part.whole:
        return e.Apply("ceildiv", (length, part.size))
    steps = e.Arith("//", e.Arith("-", length, part.size), part.stride)
    return e.Apply("max", (e.Int(0), e.Arith("+", steps, e.Int(1))))


def tensor_space(node: t.Input, made: InputDecl, draft: Draft) -> Space | None:
    """Where an input's vectors lie: ``[batch,] [heads,] axes..., features``; None if it has none.

    An axis is named, or written `len(q.n)` for that of the queries where the two sides differ.
    """
    if made.kind is not Kind.FLOAT or made.optional or made.sides:
        return None
    dims = [d for d in node.type.dims if not _named(d, "batch")]
    places = [_axis(d, draft) for d in dims]
    first = next((i for i, p in enumerate(places) if p is not None), len(dims))
    axes = [p for p in places[first:-1] if p is not None]
    if first > 1 or not axes or len(dims) != first + len(axes) + 1 or places[-1] is not None:
        return None
    if any(side is not axes[0][1] for _, side in axes) or _named(dims[-1], "head"):
        return None
    heads: Side | None = Side.K
    if first and not _named(dims[0], "kv_heads"):
        heads = Side.Q if _named(dims[0], "head") else None
    names, side = tuple(name for name, _ in axes), axes[0][1]
    return Space(names, side, draft.is_whole(names, side), heads)


def _named(node: t.Expression, name: str) -> bool:
    return isinstance(node, t.Name) and node.id == name


def _axis(node: t.Expression, draft: Draft) -> tuple[str, Side] | None:
    """The axis that a dimension counts, and whose it is."""
    match node:
        case t.Name(id=name):
            wanted = [Side.K, Side.Q]
        case t.Call(
            function=t.Name(id="len"),
            arguments=(t.Attribute(base=t.Name(id="q" | "k" as side), name=t.Name(id=name)),),
        ):
            wanted = [Side(side)]
        case _:
            return None
    if name in draft.parts:
        return name, wanted[0]
    return next(((name, s) for s in wanted if name in draft.axes.get(s, ())), None)


def own_heads(node: t.Name, draft: Draft) -> bool:
    """Report a tensor whose heads are neither those of queries nor of keys (AL310)."""
    if draft.spaces[node.id].heads is not None:
        return False
    help = "such a tensor stands in `select ... from` alone"
    draft.ctx.error("AL310", node.span, "has heads of its own", what=f"`{node.id}`", help=help)
    return True
