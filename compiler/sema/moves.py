"""``pool slots[c, m] = take(q, chosen)`` and back: ``pool total[n] = put(slots, chosen)``."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.program import Pool, Reduction, Select
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.syntax import tree as t

MOVES = (Reduction.TAKE, Reduction.PUT)


def move(node: t.Pool, call: t.Call, source: Space, draft: Draft) -> Pool | None:
    """Check one of the two; mistakes are AL312."""
    tensor, chosen = call.arguments
    if node.where is not None or call.keywords:
        what = f"`{call.function.id}` takes a tensor and a set, and nothing else"
        draft.ctx.error("AL312", node.span, what)
        return None
    sets = {s.name: s for s in draft.steps if isinstance(s, Select)}
    if not isinstance(chosen, t.Name) or chosen.id not in sets:
        help = f"sets: {', '.join(sets)}" if sets else "a `select` fills a set"
        draft.ctx.error("AL312", chosen.span, "not a set", help=help)
        return None
    found = sets[chosen.id]
    axes = tuple(a.id for a in node.axes)
    where = draft.spaces[found.query]
    lists = found.dims[found.by_head + len(where.axes) :]
    slots = axes if call.function.id == Reduction.TAKE else source.axes
    tokens = source.axes if call.function.id == Reduction.TAKE else axes
    part = draft.parts.get(slots[-1])
    fits = slots[:-1] == lists and part is not None and part.own and tokens == where.axes
    if not fits or where.side is not source.side:
        shown = f"[{', '.join((*lists, 'm'))}]"
        places = f"`{', '.join(where.axes)}` of the {'queries' if where.side is Side.Q else 'keys'}"
        draft.ctx.error(
            "AL312",
            node.span,
            f"`{chosen.id}` chooses among {places} for each `{', '.join(lists)}`",
            help=f"slots lie on {shown}, where `part m = range(count)`, tokens on {places}",
        )
        return None
    assert isinstance(tensor, t.Name)
    heads = Side.Q if found.by_head else source.heads
    space = Space(axes, source.side, draft.is_whole(axes, source.side), heads)
    if call.function.id == Reduction.TAKE:
        space = replace(space, whole=False)
    return Pool(node.name.id, tensor.id, space, Reduction(call.function.id), chosen=chosen.id)
