"""Tensors that come with the call beside q, k and v, and the axes their tokens lie on."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.program import Part
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.scope import AxisName
from attnlang.compiler.syntax import tree as t


def own_tokens(node: t.Part, made: t.Call, draft: Draft) -> None:
    """``part slot = tokens(16)``: an axis of tensors that come with the call."""
    count = None
    if len(made.arguments) == 1 and not made.keywords:
        count = typed(made.arguments[0], draft.ctx, (Kind.INT,), "the number of tokens")
    else:
        draft.ctx.error("AL312", made.span, "takes their number", help="`tokens(count)`")
    good = count is not None and check_level(count, "a dimension", frozenset(), draft.ctx)
    if draft.define(node.name) and good and count is not None:
        name = node.name.id
        draft.parts[name] = Part(name, None, count, e.Int(1), True, span=node.span)
        draft.ctx = draft.ctx.with_names(**{name: AxisName(name)})


def given(decl: InputDecl, dims: tuple[t.Expression, ...], draft: Draft) -> None:
    """An input over ``part slot = tokens(...)`` is a tensor too.

    It is ``float[batch, head, slot, width]``, where the first two may be left out, and ``kv_heads``
    may stand for ``head``.
    """
    words = [d.id if isinstance(d, t.Name) else "" for d in dims]
    rest = words[1:] if words[:1] == ["batch"] else words
    heads = rest[0] if len(rest) == 3 else None
    own = {p.name for p in draft.parts.values() if p.axis is None}
    fits = len(rest) in (2, 3) and rest[-2] in own and rest[-1] not in own
    if decl.kind is Kind.FLOAT and fits and heads in (None, "head", "kv_heads"):
        space = Space((rest[-2],), Side.K, False, Side.Q if heads == "head" else Side.K)
        draft.given[decl.name] = draft.spaces[decl.name] = space
