"""Expressions over tensors: syntax -> vectors of one space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.reads import one_softmax
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    FUNCTIONS,
    JOINS,
    Choose,
    Combine,
    Map,
    Scalar,
    Space,
    Vector,
)
from attnlang.compiler.ir.vector import Tensor as TensorRead
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.given import own_heads
from attnlang.compiler.sema.stage import check_leaves, stage
from attnlang.compiler.syntax import tree as t


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
        if not found.same_tokens(space):
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
    made = _vector(node, draft, inner, space)
    return None if made is None else (made, space)


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
        case t.Call():
            return [n for a in node.arguments for n in _tensors(a, draft)]
        case t.Subscript():
            return [n for i in node.indices for n in _tensors(i, draft)]
        case _:
            return [n for child in t.children(node) for n in _tensors(child, draft)]


def _vector(node: t.Expression, draft: Draft, inner: Draft, space: Space) -> Vector | None:
    if not _tensors(node, draft):
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
            if isinstance(condition, e.Bool):  # of a choice: the other is not made
                return then if condition.value else otherwise
            good = _own_side(condition, node.condition, inner, space)
            return Choose(condition, then, otherwise) if good else None
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
    return Scalar(value)


def _own_side(value: e.Expr, node: t.Expression, inner: Draft, space: Space) -> bool:
    """A number beside a tensor may vary with the tensor's own token alone."""
    good = check_leaves(value, inner, node.span)
    for x in walk(value):
        if isinstance(x, e.Coord | e.Index | e.TokenInput | e.InSegment) and x.side != space.side:
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


def _map(node: t.Call, draft: Draft, inner: Draft, space: Space) -> Vector | None:
    name = node.function.id
    wanted = 2 if name in JOINS else 1
    if name not in FUNCTIONS or node.keywords or len(node.arguments) < wanted:
        known = name in FUNCTIONS
        draft.ctx.error(
            "AL104" if known else "AL103",
            node.function.span,
            "" if known else "no such function of tensors",
            name=name,
            reason=f"takes {'two tensors or more' if wanted == 2 else 'one tensor'}",
            help=None if known else did_you_mean(name, FUNCTIONS),
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
