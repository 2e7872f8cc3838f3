"""Parts of axes, and pools: one vector for the tokens of a part, or of any run."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, SymbolName
from attnlang.compiler.ir.pattern import Attend, HeadGroup, PatternIR
from attnlang.compiler.ir.program import Part, Pool, Reduction
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.given import own_heads
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.moves import MOVES, move
from attnlang.compiler.sema.scope import AxisName
from attnlang.compiler.sema.stage import stage, step_pattern
from attnlang.compiler.syntax import tree as t


def part(node: t.Part, draft: Draft) -> None:
    """``part b = blocks(n, 64)``, ``windows(n, 32, stride=16)`` or ``range(8)``."""
    forms = "`blocks(axis, size)`, `windows(axis, size, stride)` or `range(count)`"
    made = node.value
    if isinstance(made, t.Call) and made.function.id == "range":
        _own_axis(node, made, draft)
        return
    if not isinstance(made, t.Call) or made.function.id not in ("blocks", "windows"):
        draft.ctx.error("AL312", made.span, "not a way to cut an axis", help=f"it is {forms}")
        draft.fail(node.name)
        return
    whole = made.function.id == "windows"
    keywords = {k.name.id: k.value for k in made.keywords}
    names = ("size", "stride") if whole else ("size",)
    given = dict(zip(names, made.arguments[1:], strict=False)) | keywords
    axis = made.arguments[0] if made.arguments else None
    if not isinstance(axis, t.Name) or set(given) != set(names) or len(made.arguments) > 3:
        draft.ctx.error("AL312", made.span, "takes an axis and sizes", help=f"it is {forms}")
        draft.fail(node.name)
        return
    binding = draft.ctx.names.get(axis.id)
    if draft.failed(axis.id):
        draft.fail(node.name)
        return
    if axis.id != "index" and not isinstance(binding, AxisName):
        hint = did_you_mean(axis.id, [*draft.ctx.axis_names(), *draft.parts])
        draft.ctx.error("AL101", axis.span, "no axis of that name", name=axis.id, help=hint)
        draft.fail(node.name)
        return
    values = []
    for name in ("size", "stride"):
        value = given.get(name, given["size"])
        made_value = typed(value, draft.ctx, (Kind.INT,), f"the {name} of a part")
        if made_value is None or not check_level(made_value, "a dimension", frozenset(), draft.ctx):
            draft.fail(node.name)
            return
        values.append(made_value)
    if draft.define(node.name):
        name = node.name.id
        draft.parts[name] = Part(name, axis.id, values[0], values[1], whole, span=node.span)
        draft.ctx = draft.ctx.with_names(**{name: AxisName(name)})


def _own_axis(node: t.Part, made: t.Call, draft: Draft) -> None:
    """``part c = range(8)``: an axis that is cut from no other."""
    good = len(made.arguments) == 1 and not made.keywords
    if not good:
        draft.ctx.error("AL312", made.span, "takes how many", help="it is `range(count)`")
    size = typed(made.arguments[0], draft.ctx, (Kind.INT,), "a count") if good else None
    if size is not None and not check_level(size, "a dimension", frozenset(), draft.ctx):
        size = None
    if size is None:
        draft.fail(node.name)
    elif draft.define(node.name):
        name = node.name.id
        draft.parts[name] = Part(name, "", size, e.Int(1), False, span=node.span)
        draft.ctx = draft.ctx.with_names(**{name: AxisName(name)})


def pool(node: t.Pool, draft: Draft) -> None:
    """``pool kb[b] = mean(k)``."""
    call = node.value
    kinds = [str(r) for r in Reduction]
    if (
        not isinstance(call, t.Call)
        or call.function.id not in kinds
        or len(call.arguments) != (2 if call.function.id in MOVES else 1)
        or not isinstance(call.arguments[0], t.Name)
    ):
        draft.ctx.error(
            "AL312",
            call.span,
            "not a way to pool",
            help=f"one of {', '.join(k for k in kinds if k not in MOVES)} of a tensor, or "
            "`take` or `put` of a tensor and a set",
        )
        draft.fail(node.name)
        return
    source = call.arguments[0]
    space = tensor(source, draft)
    axes = tuple(a.id for a in node.axes)
    good = space is not None
    if call.function.id in MOVES:
        if node.where is not None:
            draft.ctx.error("AL312", node.where.span, help="the set says which tokens these are")
        moved = None if space is None else move(node, call, space, draft)
        if draft.define(node.name) and moved is not None:
            draft.spaces[moved.name] = moved.space
            draft.steps.append(moved)
        return
    for axis in node.axes:
        if draft.failed(axis.id):
            good = False
        elif space is not None and _root(axis.id, draft) not in (*space.axes, "index", ""):
            draft.ctx.error(
                "AL309",
                axis.span,
                "not a part of its axes",
                read=axis.id,
                help=f"`{source.id}` lies on {', '.join(space.axes)}: name parts of these",
            )
            good = False
    divide = "tokens"
    for keyword in call.keywords:
        if keyword.name.id == "over" and isinstance(keyword.value, t.Name):
            divide = keyword.value.id
        if divide not in ("tokens", "size") or keyword.name.id != "over":
            draft.ctx.error("AL312", keyword.span, help="`over=tokens` or `over=size`")
            good = False
        elif divide == "size" and node.where is not None:
            draft.ctx.error("AL312", keyword.span, help="a run that a condition says has no size")
            good = False
    if not good or space is None:
        draft.fail(node.name)
        return
    if not draft.define(node.name):
        return
    whole = not space.whole and draft.is_whole(axes, space.side)
    made = Space(axes, space.side, whole, space.heads)
    members = None if node.where is None else membership(node.where, source.id, made, space, draft)
    if node.where is not None and members is None:
        return
    draft.spaces[node.name.id] = made
    how = Reduction(call.function.id)
    draft.steps.append(Pool(node.name.id, source.id, made, how, divide, members))  # type: ignore[arg-type]


def membership(
    node: t.Expression, source: str, made: Space, space: Space, draft: Draft
) -> PatternIR | None:
    """Which tokens (k) of the source each token (q) of a pool is of. AL312 where heads differ."""
    inner = stage(draft, made, [(source, replace(space, whole=False))])
    where = boolean(node, inner.ctx, "`pool ... where`")
    if where is None:
        return None
    heads = (e.Symbol(SymbolName.HEAD), e.Symbol(SymbolName.KV_HEAD))
    by_head = {i.name for i in inner.inputs if "head" in i.dims}
    for x in walk(where):
        if x in heads or (isinstance(x, e.TokenInput | e.Table) and x.name in by_head):
            draft.ctx.error("AL312", node.span, help="all heads have the same runs")
            return None
    group = HeadGroup(e.Int(0), e.Symbol(SymbolName.HEADS), Attend(where, span=node.span))
    return step_pattern(inner, "pool", [group], draft.sets.values())


def _root(axis: str, draft: Draft) -> str:
    """The axis that a part is of; an axis is its own."""
    return draft.parts[axis].axis if axis in draft.parts else axis


def tensor(node: t.Expression, draft: Draft) -> Space | None:
    """Where the tensor of that name lies; AL310 if there is none."""
    if isinstance(node, t.Name) and node.id in draft.spaces:
        if own_heads(node, draft):
            return None
        return draft.spaces[node.id]
    name = node.id if isinstance(node, t.Name) else node.span.text
    if draft.failed(name):
        return None
    help = did_you_mean(name, draft.spaces) or f"tensors here: {', '.join(draft.spaces)}"
    if name not in draft.defined and any(
        isinstance(s, t.Pool | t.Assign) and s.name.id == name for s in draft.pattern.body
    ):
        help = "it is made below: move that line up"
    draft.ctx.error("AL310", node.span, "not a tensor", what=f"`{name}`", help=help)
    return None
