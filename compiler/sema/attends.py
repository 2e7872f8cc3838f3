"""The ``attend`` statement: its condition, its score edits, its rule for empty rows."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import Attend, EmptyRule
from attnlang.compiler.sema.budget import measure, within_budget
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.segments import specialise, undefined_leaves
from attnlang.compiler.syntax import tree as t


def attend_clause(node: t.Attend, draft: Draft) -> Attend | None:
    ctx = draft.ctx
    where = boolean(node.where, ctx, "`where`")
    clauses: dict[str, Expr | None] = {"score": None, "scale": None, "sink": None}
    score: Expr = e.Symbol(SymbolName.SCORE, span=node.span)
    empty: EmptyRule | None = None
    good = where is not None and check_level(where, "where", draft.input_names, ctx)
    said: set[str] = set()
    for option in node.options:
        if isinstance(option, t.Empty):
            rules = tuple(str(r) for r in EmptyRule)
            if option.rule.id not in rules:
                ctx.error(
                    "AL206",
                    option.rule.span,
                    name=option.rule.id,
                    help=did_you_mean(option.rule.id, rules) or "one of: " + ", ".join(rules),
                )
                good = False
                continue
            kind, empty = "empty", EmptyRule(option.rule.id)
        else:
            kind = option.kind
            inner = replace(ctx, score=score) if kind == "score" else ctx
            value = typed(option.value, inner, (Kind.FLOAT,), f"`{kind}`")
            if (
                value is None
                or not check_level(value, kind, draft.input_names, ctx)
                or not within_budget(value, option.span, ctx)
            ):
                good = False
                continue
            if kind == "score":
                score = clauses["score"] = value
            elif kind == "softcap":
                capped = e.Apply("tanh", (e.Arith("/", score, value),), span=option.span)
                score = clauses["score"] = e.Arith("*", value, capped, span=option.span)
            else:
                clauses[kind] = value
        if kind in said and kind != "score":
            ctx.error("AL303", option.span, "said again", what=f"`{kind}`")
        said.add(kind)
    if not good or where is None:
        return None
    if not within_budget(where, node.where.span, ctx):
        return None
    _check_segments((where, clauses["score"], clauses["sink"]), draft)
    return Attend(
        where, clauses["score"], clauses["scale"], clauses["sink"], empty, span=node.where.span
    )


def _check_segments(roots: tuple[Expr | None, ...], draft: Draft) -> None:
    """No clause may read what the tokens of some segment do not have (AL306)."""
    extras = frozenset(s.name for s in draft.segments if not s.is_grid)
    if not extras:
        return
    cost = sum(measure(root)[0] for root in roots if root is not None)
    for q in (s for s in draft.segments if Side.Q in s.sides):
        for k in (s for s in draft.segments if Side.K in s.sides):
            where = roots[0]
            if not draft.ctx.spend(draft.pattern.name.span, cost):
                return
            if where is None or specialise(where, q, k) == e.FALSE:
                roots_here: tuple[Expr | None, ...] = roots[:1]
            else:
                roots_here = roots
            for root in roots_here:
                if root is None:
                    continue
                for leaf, segment in undefined_leaves(specialise(root, q, k), q, k, extras):
                    token = "q" if getattr(leaf, "side", None) is Side.Q else "k"
                    draft.ctx.error(
                        "AL306",
                        leaf.span,
                        f"{token} may be a `{segment.name}` token here",
                        read=leaf.span.text or "this",
                        segment=segment.name,
                        help=f"say what holds for those tokens: `{token} in {segment.name} or ...`",
                    )
