"""Expressions over tensors: syntax -> vectors of one space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.builtins import BUILTINS
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.reads import one_softmax
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    CHANNEL,
    ELEMENTWISE,
    FEATURES,
    FUNCTIONS,
    JOINS,
    PIECES,
    ROTATE,
    TURNS,
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Space,
    Vector,
    projections,
    scalars,
)
from attnlang.compiler.ir.vector import Tensor as TensorRead
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.given import own_heads
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.numbers import as_query, closed, with_channel, without
from attnlang.compiler.sema.scope import TableName
from attnlang.compiler.sema.stage import check_leaves, stage
from attnlang.compiler.syntax import tree as t

CHANNEL_OF = e.Coord(Side.K, CHANNEL)


def vector(node: t.Expression, draft: Draft, name: str = "x") -> tuple[Vector, Space] | None:
    """A tensor expression and where its tokens lie; mistakes are reported (AL310, AL311).

    name: what it is given.
    """
    read = _tensors(node, draft)
    if any(draft.failed(n) for n in _names(node)):
        return None
    if not read:
        draft.ctx.error(
            "AL310",
            node.span,
            "reads no tensor",
            what="this expression",
            help=f"the name of a number starts with `let`: `let {name} = ...`",
        )
        return None
    space = draft.spaces[read[0].id]
    if any(own_heads(name, draft) for name in read):
        return None
    for other in read[1:]:
        found = draft.spaces[other.id]
        if not draft.same_tokens(found, space):
            draft.ctx.error(
                "AL311",
                other.span,
                f"lies on {_words(found)}",
                first=read[0].id,
                second=other.id,
                help=f"`{read[0].id}` lies on {_words(space)}",
            )
            return None
        if found.heads is Side.Q:
            space = replace(space, heads=Side.Q)
    inner = stage(draft, space, [("keys", space)])
    inner.ctx = with_channel(inner.ctx)
    made = _vector(node, draft, inner, space)
    if made is None:
        return None
    by_head = any(_varies_by_head(x, draft) for x in scalars(made))
    by_head = by_head or any("head" in draft.table(t.table).dims for t in projections(made))
    return made, replace(space, heads=Side.Q) if by_head else space


def _varies_by_head(root: Expr, draft: Draft) -> bool:
    """Has it a value for every query head?"""
    by_head = {i.name for i in (*draft.inputs, *draft.numbers) if i.sides and "head" in i.dims}
    return any(
        x == e.Symbol(SymbolName.HEAD) or (isinstance(x, e.TokenInput) and x.name in by_head)
        for x in walk(root)
    )


def _names(node: t.Node) -> Iterator[str]:
    """Every name that stands in an expression."""
    if isinstance(node, t.Name):
        yield node.id
    for child in t.children(node):
        yield from _names(child)


def _words(space: Space) -> str:
    return f"`{', '.join(space.axes)}` of the {'queries' if space.side is Side.Q else 'keys'}"


def _tensors(node: t.Node, draft: Draft) -> list[t.Name]:
    """The tensors an expression reads, in order; ``q`` in ``q.n`` is a token, not the tensor."""
    match node:
        case t.Name(id=name):
            return [node] if name in draft.spaces else []
        case t.Attribute() | t.Member():
            return []
        case t.Call(function=t.Name(id="project")):  # the second is a table
            return [n for a in node.arguments[:1] for n in _tensors(a, draft)]
        case t.Call():
            return [n for a in node.arguments for n in _tensors(a, draft)]
        case t.Subscript():
            return [n for i in node.indices for n in _tensors(i, draft)]
        case _:
            return [n for child in t.children(node) for n in _tensors(child, draft)]


def _vector(node: t.Expression, draft: Draft, inner: Draft, space: Space) -> Vector | None:
    if not _tensors(node, draft) and not _is_map(node):
        return _scalar(node, inner, space)
    match node:
        case t.Name(id=name):
            return TensorRead(name)
        case t.Negative():
            operand = _vector(node.operand, draft, inner, space)
            return None if operand is None else Combine("*", Scalar(e.Float(-1.0)), operand)
        case t.Binary(op=op) if op in ("+", "-", "*", "/"):
            left = _vector(node.left, draft, inner, space)
            right = _vector(node.right, draft, inner, space)
            return None if left is None or right is None else Combine(op, left, right)  # type: ignore[arg-type]
        case t.Conditional():
            condition = boolean(node.condition, inner.ctx, "the condition of `if`")
            then = _vector(node.then, draft, inner, space)
            otherwise = _vector(node.otherwise, draft, inner, space)
            if condition is None or then is None or otherwise is None:
                return None
            if not _own_side(condition, node.condition, inner, space):
                return None
            known = simplify(closed(condition, inner))
            if isinstance(known, e.Bool):
                return then if known.value else otherwise
            return Choose(as_query(condition), then, otherwise)
        case t.Call():
            return _map(node, draft, inner, space)
        case _:
            draft.ctx.error(
                "AL310",
                node.span,
                "not a tensor expression",
                what="this",
                help="tensors are combined by + - * /, `if`, and functions such as `silu`",
            )
            return None


def _scalar(node: t.Expression, inner: Draft, space: Space) -> Scalar | None:
    value = typed(node, inner.ctx, (Kind.FLOAT,), "a factor of a tensor")
    if value is None or not _own_side(value, node, inner, space):
        return None
    return Scalar(as_query(value))


def _is_map(node: t.Expression) -> bool:
    """Does it hold a function of tensors that numbers do not have, `cos(x)`?"""
    mine = (*ELEMENTWISE, *FEATURES)
    if isinstance(node, t.Call) and node.function.id in mine and node.function.id not in BUILTINS:
        return True
    return any(isinstance(x, t.Expression) and _is_map(x) for x in t.children(node))


def _own_side(value: e.Expr, node: t.Expression, inner: Draft, space: Space) -> bool:
    """A number beside a tensor may vary with the tensor's own token alone."""
    good = check_leaves(without(value, CHANNEL_OF), inner, node.span)
    for x in walk(value):
        if not isinstance(x, e.Coord | e.Index | e.TokenInput | e.InSegment) or x == CHANNEL_OF:
            continue
        if x.side != space.side:
            own = "q" if space.side is Side.Q else "k"
            inner.ctx.error(
                "AL310",
                x.span,
                f"the token of this tensor is `{own}`",
                what=f"`{x.span.text}`",
                help=f"write `{own}.` instead of `{x.side}.`",
            )
            good = False
    return good


_ARGUMENTS = {ROTATE: "a tensor and an angle", **dict.fromkeys(JOINS, "two tensors or more")}


def _map(node: t.Call, draft: Draft, inner: Draft, space: Space) -> Vector | None:
    name = node.function.id
    if name in PIECES and not node.keywords:
        return _piece(node, draft, inner, space)
    wanted = 2 if name in (*JOINS, ROTATE) else 1
    many = name in JOINS
    count = len(node.arguments)
    if name not in FUNCTIONS or node.keywords or not (count == wanted or (many and count > wanted)):
        known = name in FUNCTIONS
        hint = f"`name = {name}(...)` on a line of its own" if name in TURNS else None
        draft.ctx.error(
            "AL104" if known else "AL103",
            node.function.span,
            "" if known else "no such function of tensors",
            name=name,
            reason=f"takes {_ARGUMENTS.get(name, 'one tensor')}",
            help=None if known else hint or did_you_mean(name, (*FUNCTIONS, *PIECES)),
        )
        return None
    made = [_vector(a, draft, inner, space) for a in node.arguments]
    if any(m is None for m in made):
        return None
    steps = {s.name: s for s in draft.steps}
    for argument, m in zip(node.arguments, made, strict=True):
        if name == "merge" and m is not None and not one_softmax(m, steps):
            draft.ctx.error(
                "AL310",
                argument.span,
                "has no log-sum-exp",
                what=f"`{argument.span.text}`",
                help="`merge` takes softmax attentions; others are added: `a + b`",
            )
            return None
    return Map(name, tuple(m for m in made if m is not None))


def _piece(node: t.Call, draft: Draft, inner: Draft, space: Space) -> Vector | None:
    """``slice(k, 0, 512)`` and ``project(k, table)``."""
    name, (first, *rest) = node.function.id, node.arguments or (None,)
    if first is None or len(rest) != (2 if name == "slice" else 1):
        form = "`slice(x, start, stop)`" if name == "slice" else "`project(x, table)`"
        draft.ctx.error("AL104", node.span, name=name, reason=f"is {form}")
        return None
    operand = _vector(first, draft, inner, space)
    if name == "project":
        return _projected(operand, rest[0], draft)
    ends = [typed(x, draft.ctx, (Kind.INT,), "an end of `slice`") for x in rest]
    if operand is None or ends[0] is None or ends[1] is None:
        return None
    if not all(check_level(x, "a dimension", frozenset(), draft.ctx) for x in ends if x):
        return None
    return Slice(operand, ends[0], ends[1])


def _projected(operand: Vector | None, node: t.Expression, draft: Draft) -> Vector | None:
    table = draft.ctx.names.get(node.id) if isinstance(node, t.Name) else None
    if not isinstance(table, TableName) or table.name not in draft.input_names:
        reason = "takes a tensor and a table: `project(k, w)`"
        draft.ctx.error("AL104", node.span, name="project", reason=reason)
        return None
    dims = [d for d in draft.table(table.name).dims if d != "batch"]
    by_head = len(dims) == 3 and dims[0] in ("head", e.Symbol(SymbolName.KV_HEADS))
    if table.kind is not Kind.FLOAT or len(dims) - by_head != 2 or "head" in dims[by_head:]:
        expected = "`float[rows, features]`, or with `head` or `kv_heads` first"
        draft.ctx.error("AL205", node.span, name=table.name, expected=expected, found="others")
        return None
    return None if operand is None else Project(operand, table.name, by_head)


def turned(node: t.Call, draft: Draft) -> tuple[Vector, Space, Space] | None:
    """``channels(x)`` and ``tokens(x)``: the vector, where it lies, and where the result does."""
    name = node.function.id
    if len(node.arguments) != 1 or node.keywords:
        draft.ctx.error("AL104", node.span, name=name, reason="takes one tensor")
        return None
    found = vector(node.arguments[0], draft)
    if found is None:
        return None
    value, space = found
    if name == "channels":
        return value, space, Space((CHANNEL,), space.side, False, space.heads, space)
    if space.turned is None:
        draft.ctx.error(
            "AL310",
            node.span,
            "its tokens are no features",
            what="this",
            help="`tokens` undoes `channels`",
        )
        return None
    return value, space, replace(space.turned, heads=space.heads)
