"""Run-time tensors: their element kinds and dimensions."""

from __future__ import annotations

from collections.abc import Mapping

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.scope import SYMBOLS, Context
from attnlang.compiler.sema.types import scalar_kind
from attnlang.compiler.syntax import tree as t

FLAGS = ("sorted", "optional", "nonpositive")


def declare_input(
    node: t.Input, ctx: Context, counts: Mapping[str, Expr] | None = None
) -> InputDecl | None:
    """The declaration of one ``input``; its dims are words (batch, head, axes) or sizes.

    counts: how many tokens the parts of a program have.
    """
    counts = counts or {}
    kind = scalar_kind(node.type, ctx)
    dims: list[str | Expr] = []
    said: set[str] = set()
    good = kind is not None
    axes = {*ctx.q_axes, *ctx.k_axes}
    for i, written in enumerate(node.type.dims):
        word = written.id if isinstance(written, t.Name) else None
        if word in ("batch", "head") or word in axes:
            if word in said and word not in axes:  # an axis may come twice: pairs of its tokens
                ctx.error("AL102", written.span, "listed twice", name=word)
                good = False
            elif word == "batch" and i > 0:
                ctx.error(
                    "AL205",
                    written.span,
                    "comes first",
                    name=node.name.id,
                    expected="`batch` first",
                    found="`batch` after other dimensions",
                )
                good = False
            dims.append(str(word))
            said.add(str(word))
            continue
        if word is not None and word in counts:
            dims.append(counts[word])
            continue
        if word is not None and word not in ctx.names and word not in SYMBOLS:
            help = did_you_mean(word, [*axes, *counts, "batch", "head"])
            ctx.error("AL101", written.span, "no dimension of that name", name=word, help=help)
            good = False
            continue
        size = typed(written, ctx, (Kind.INT,), "a dimension")
        if size is None or not check_level(size, "a dimension", frozenset(), ctx):
            good = False
            continue
        dims.append(size)
    for flag in node.flags:
        if flag.id not in FLAGS:
            ctx.error(
                "AL206",
                flag.span,
                name=flag.id,
                help=did_you_mean(flag.id, FLAGS) or "`sorted`, `optional` or `nonpositive`",
            )
            good = False
    if not good or kind is None:
        return None
    names = {f.id for f in node.flags}
    sides = _token_sides(tuple(dims), ctx)
    if "sorted" in names and (kind is Kind.BOOL or not sides):
        ctx.error(
            "AL201",
            node.span,
            what="a `sorted` input",
            expected="numbers, one per token",
            found=node.type.span.text,
        )
        return None
    if "nonpositive" in names and kind is not Kind.FLOAT:
        ctx.error(
            "AL201",
            node.span,
            what="a `nonpositive` input",
            expected="floats",
            found=node.type.span.text,
        )
        return None
    return InputDecl(
        node.name.id,
        kind,
        tuple(dims),
        sides,
        "sorted" in names,
        "optional" in names,
        "nonpositive" in names,
        span=node.span,
    )


def _token_sides(dims: tuple[str | Expr, ...], ctx: Context) -> tuple[Side, ...]:
    """The sides whose tokens the tensor has one value for: all axes of the side, in order."""
    rest = tuple(d for d in dims if d not in ("batch", "head"))
    if not rest or any(not isinstance(d, str) for d in rest):
        return ()
    return tuple(s for s in (Side.Q, Side.K) if rest == ctx.axes(s))
