"""The ``attend`` statement: its condition, its score edits, its rule for empty rows."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.diagnostics.model import Label
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import Attend, EmptyRule, Normaliser, Segment
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.sema.budget import measure, within_budget
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.options import rule_word, standing
from attnlang.compiler.sema.segments import specialise, undefined_leaves
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t


def attend_clause(node: t.Attend, draft: Draft) -> Attend | None:
    ctx = draft.ctx
    where = boolean(node.where, ctx, "`where`")
    clauses: dict[str, Expr | None] = {"score": None, "scale": None, "sink": None, "gain": None}
    score: Expr = e.Symbol(SymbolName.SCORE, span=node.span)
    empty: EmptyRule | None = None
    normaliser = Normaliser.SOFTMAX
    good = where is not None and check_level(where, "where", draft.input_names, ctx)
    found = standing(node.options, ctx)
    if found is None:
        return None
    there, left_out = found
    good &= _readable(left_out, draft)
    said: set[str] = set()
    for option in there:
        kind: str = option.kind
        if isinstance(option, t.Rule):
            word = rule_word(option.rule, _words(kind), ctx)
            if word is None:
                good = False
                continue
            if kind == "normalise":
                normaliser = Normaliser(word)
            else:
                empty = EmptyRule(word)
        else:
            if kind not in ("score", "softcap", "scale", "sink", "gain"):
                why = f"`{kind}` belongs to `attend linear`"
                help = f"write `attend linear where ...`, or leave `{kind}` out"
                ctx.error("AL315", option.span, "in a softmax attention", why=why, help=help)
                good = False
                continue
            inner = replace(ctx, score=score, products=draft.products) if kind == "score" else ctx
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
    _check_segments((where, clauses["score"], clauses["sink"], clauses["gain"]), draft)
    return Attend(
        where,
        clauses["score"],
        clauses["scale"],
        clauses["sink"],
        empty,
        normaliser,
        clauses["gain"],
        span=node.where.span,
    )


def _words(kind: str) -> tuple[str, ...]:
    return tuple(Normaliser if kind == "normalise" else EmptyRule)


def _readable(left_out: tuple[t.Option | t.Rule, ...], draft: Draft) -> bool:
    """Options that other choices would let stand are read all the same."""
    ctx = replace(draft.ctx, score=e.Symbol(SymbolName.SCORE), products={})
    found: list[object] = [
        rule_word(o.rule, _words(o.kind), ctx)
        if isinstance(o, t.Rule)
        else typed(o.value, ctx, (Kind.FLOAT,), f"`{o.kind}`")
        for o in left_out
    ]
    return None not in found


def _check_segments(roots: tuple[Expr | None, ...], draft: Draft) -> None:
    """No clause may read what the tokens of some segment do not have (AL306)."""
    extras = frozenset(s.name for s in draft.segments if not s.is_grid)
    if not extras:
        return
    where, *others = roots
    assert where is not None
    clauses = [root for root in others if root is not None]
    cost = sum(measure(root)[0] for root in (where, *clauses))
    found: dict[tuple[Expr, Span], list[Segment]] = {}
    for q in (s for s in draft.segments if Side.Q in s.sides):
        for k in (s for s in draft.segments if Side.K in s.sides):
            if not draft.ctx.spend(draft.pattern.name.span, cost):
                return
            chosen = specialise(where, q, k)
            edits = [] if chosen == e.FALSE else [specialise(root, q, k) for root in clauses]
            for root in (chosen, *edits):
                for leaf, segment in undefined_leaves(root, q, k, extras):
                    places = found.setdefault((leaf, leaf.span), [])
                    if segment not in places:
                        places.append(segment)
    for (leaf, span), segments in found.items():
        _missing_coordinate(leaf, span, segments, where.span, draft)


def _missing_coordinate(
    leaf: Expr, span: Span, segments: list[Segment], clause: Span, draft: Draft
) -> None:
    read = to_text(leaf)
    token, _, name = read.partition(".")
    kinds = " or ".join(f"`{s.name}`" for s in segments)
    first = segments[0].name
    hint = f"{token} in {name} and ..." if segments[0].is_grid else f"{token} in {first} or ..."
    whole = draft.pattern.span
    here = span.source is whole.source and whole.start <= span.start < whole.end
    draft.ctx.error(
        "AL306",
        span if here else clause,
        f"{token} may be a {kinds} token here",
        secondary=() if here else (Label(span, f"this reads `{read}`"),),
        read=read,
        segment=first,
        help=f"say what holds for those tokens: `{hint}`",
    )
