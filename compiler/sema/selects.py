"""``select``: which keys of a tensor are chosen for which queries of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import Attend, HeadGroup, InputDecl, PatternIR
from attnlang.compiler.ir.program import (
    SET_HEADS,
    Gather,
    Gradient,
    Normalise,
    Rule,
    Search,
    Select,
    Share,
    SizeOf,
    Ties,
    Weigh,
    weights_of,
)
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import ONE, Space, lone
from attnlang.compiler.sema.attends import attend_clause
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.options import rule_word, standing
from attnlang.compiler.sema.programs import own_tensors
from attnlang.compiler.sema.scope import TableName
from attnlang.compiler.sema.stage import stage, step_pattern
from attnlang.compiler.syntax import tree as t

RULES = ("top", "above", "mass")
SIZES = ("count", "most")
Choice = TypeVar("Choice", bound=StrEnum)


def select(node: t.Select, draft: Draft) -> None:
    """Check one ``select`` and let its name stand for the set it fills."""
    made = _select(node, draft)
    if not draft.define(node.name):
        return
    name = node.name.id
    weighed = made is None or made.gradient is not Gradient.STOP
    draft.ctx = draft.ctx.with_names(**{name: _table(node, weighed)})
    if made is not None:
        draft.sets[name] = _declaration(made, name, Kind.BOOL)
        if weighed:
            table = weights_of(name)
            draft.sets[table] = _declaration(made, table, Kind.FLOAT)
        draft.steps.append(made)


def _table(node: t.Select, weighed: bool) -> TableName:
    dims = tuple(d.id for d in node.dims)
    return TableName(node.name.id, Kind.BOOL, len(dims), dims=dims, weighed=weighed)


def _declaration(made: Select, name: str, kind: Kind) -> InputDecl:
    """The set, or its weights, as the patterns that read it see it: a run-time table."""
    heads: dict[str, str | Expr] = {"head": "head", "kv_head": e.Symbol(SymbolName.KV_HEADS)}
    dims = ("batch", *(heads.get(d, d) for d in made.dims if d != ONE))
    return InputDecl(name, kind, dims, (), False, False, span=made.span)


@dataclass(frozen=True, slots=True)
class _Sources:
    """The tensors of queries and keys, where these lie, and where what is chosen lies."""

    names: tuple[str, str]
    query: Space
    key: Space
    rows: Space
    runs: Space

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.rows.axes, *self.runs.axes)


def _select(node: t.Select, draft: Draft) -> Select | None:
    made = _sources(node, draft)
    if made is None:
        return None
    query, key, runs = made.query, made.key, made.runs
    inner = stage(draft, query, [("keys", key)])
    scored = [o for o in node.options if isinstance(o, t.Option) and o.kind in ("score", "scale")]
    attend = attend_clause(t.Attend(node.where, tuple(scored), span=node.span), inner)
    group = None if attend is None else HeadGroup(e.Int(0), e.Symbol(SymbolName.HEADS), attend)
    pattern = None
    if group is not None:
        pattern = step_pattern(inner, node.name.id, [group], draft.sets.values())
    chosen = stage(draft, made.rows, [("keys", runs)])
    found = standing(node.options, draft.ctx)
    if found is None or not all(_readable(o, node, made, chosen) for o in found[1]):
        return None
    node = replace(node, options=found[0])
    rule = _rule(node, made, chosen)
    force, gather, rows, good = None, None, None, True
    said: set[str] = set()
    for option in node.options:
        kind = _kind(option)
        if kind in said and kind != "score":
            draft.ctx.error("AL303", option.span, "said again", what=f"`{kind}`")
            good = False
        said.add(kind)
        if isinstance(option, t.Option) and option.kind == "force":
            where = boolean(option.value, chosen.ctx, "`force`")
            force = None if where is None else _pairs(where, "force", chosen, draft)
            good &= force is not None
        elif isinstance(option, t.Gather) and option.rows:
            rows = _gather(option, draft, query, made.rows)
            good &= rows is not None
        elif isinstance(option, t.Gather):
            gather = _gather(option, draft, runs, key)
            good &= gather is not None
    share = _word(node, "share", Share, Share.SUM, draft)
    normalise = _word(node, "normalise", Normalise, Normalise.NONE, draft)
    ties = _word(node, "ties", Ties, Ties.FIRST, draft)
    search = _word(node, "search", Search, Search.ALL, draft)
    weigh = _word(node, "weigh", Weigh, Weigh.NONE, draft)
    gradient = _word(node, "gradient", Gradient, Gradient.STOP, draft)
    if weigh is not Weigh.NONE and gradient is Gradient.STOP:
        why = "`weigh` is of weights, which a set without a gradient has none of"
        help = "`gradient scores` or `gradient straight_through`"
        draft.ctx.error("AL314", node.name.span, why=why, help=help)
        return None
    if len(node.sources) == 1 and "score" not in said:
        why = "what is chosen of one tensor has no score of its own"
        draft.ctx.error("AL314", node.name.span, why=why, help="say one: `score ...`")
        return None
    if rule is not None and rule.kind != "top" and said & {"ties", "search"}:
        draft.ctx.error("AL314", node.name.span, why="`ties` and `search` belong to `top`")
        return None
    if gather is None and runs.axes != key.axes and good:
        draft.ctx.error(
            "AL314",
            node.dims[-1].span,
            "not the axes of the keys",
            why=f"the scores are of `{', '.join(key.axes)}`",
            help="say how they become scores of these: `gather max where ...`",
        )
        return None
    if not good or pattern is None or rule is None or share is None or normalise is None:
        return None
    if ties is None or search is None or weigh is None or gradient is None:
        return None
    heads = tuple(d.id for d in node.dims[:1] if d.id in SET_HEADS)
    return Select(
        node.name.id, *made.names, pattern, (*heads, *made.axes), rule, force, share, normalise,
        gather, ties, search, rows, weigh, gradient, span=node.span,
    )  # fmt: skip


def _kind(option: t.Option | t.Rule | t.Gather) -> str:
    if isinstance(option, t.Gather):
        return "gather rows" if option.rows else "gather"
    return option.kind


def _sources(node: t.Select, draft: Draft) -> _Sources | None:
    """Where the queries, the scored keys and the chosen keys lie."""
    found: list[tuple[str, Space]] = []
    for source in node.sources:
        name = source.id if isinstance(source, t.Name) else source.span.text
        if draft.failed(name):
            return None
        if name not in draft.spaces:
            hint = did_you_mean(name, draft.spaces)
            draft.ctx.error("AL310", source.span, "not a tensor", what=f"`{name}`", help=hint)
            return None
        found.append((name, draft.spaces[name]))
    if len(found) > 2:
        why = f"it chooses from one or two tensors, not {len(found)}"
        draft.ctx.error("AL314", node.span, why=why, help="`select R[n, b] from q, kb where ...`")
        return None
    if len(found) == 1:
        keys = found[0][1].side is Side.K
        found.insert(0 if keys else 1, lone(Side.Q if keys else Side.K))
    (first, query), (second, key) = found
    dims = [d.id for d in node.dims]
    rest = dims[1:] if dims and dims[0] in SET_HEADS else dims
    if len(rest) < len(dims) and query.heads is None:
        why = f"`{node.sources[0].span.text}` has heads of its own: one set is for all heads"
        draft.ctx.error("AL314", node.dims[0].span, why=why)
        return None
    known = {*draft.parts, *(a for s in own_tensors(draft).values() for a in s.axes)}
    for d in node.dims:
        if draft.failed(d.id):
            return None
        if d.id not in known and d.id not in SET_HEADS:
            hint = did_you_mean(d.id, [*known, *SET_HEADS])
            draft.ctx.error("AL101", d.span, "no axis of that name", name=d.id, help=hint)
            return None
    if query.axes == (ONE,):
        rest = [ONE, *rest]
    elif key.axes == (ONE,):
        rest = [*rest, ONE]
    rows = query
    if any(isinstance(o, t.Gather) and o.rows for o in node.options):
        rows = Space(tuple(rest[: len(query.axes)]), query.side, False, query.heads)
    if tuple(rest[: len(rows.axes)]) != rows.axes or len(rest) <= len(rows.axes):
        shown = ", ".join(a for a in (*query.axes, *key.axes) if a != ONE)
        draft.ctx.error(
            "AL314",
            node.name.span,
            why="its dimensions are the axes of its queries, then those of its keys",
            help=f"`{node.name.id}[{shown}]`, with `head` or `kv_head` before them",
        )
        return None
    axes = tuple(rest[len(rows.axes) :])
    runs = Space(axes, key.side, axes == key.axes and key.whole, key.heads)
    return _Sources((first, second), query, key, rows, runs)


def _rule(node: t.Select, made: _Sources, chosen: Draft) -> Rule | None:
    rules = [o for o in node.options if isinstance(o, t.Option) and o.kind in RULES]
    if len(rules) != 1:
        chosen.ctx.error(
            "AL314",
            node.name.span,
            why=f"it has {len(rules)} rules",
            help="one of `top 4`, `above 0.01` and `mass 0.9`",
        )
        return None
    return _checked(rules[0], node, made, chosen)


def _checked(rule: t.Option, node: t.Select, made: _Sources, chosen: Draft) -> Rule | None:
    heads = [d.id for d in node.dims[:1] if d.id in SET_HEADS]
    dims = [*heads, *made.axes]
    amount = _amount(rule, dims, chosen)
    if amount is None:
        return None
    per = [*range(len(dims) - len(made.runs.axes))]
    if made.runs.axes == (ONE,):
        per = [*range(len(heads))]
    if rule.per:
        named = [n for n in rule.per if n.id != "batch"]
        for name in named:
            if name.id not in dims:
                hint = did_you_mean(name.id, [*dims, "batch"])
                chosen.ctx.error("AL101", name.span, "not a dimension", name=name.id, help=hint)
                return None
        per = sorted({dims.index(n.id) for n in named})  # of a query and a key alike, the query's
    return Rule(rule.kind, amount, tuple(per))  # type: ignore[arg-type]


def _readable(
    option: t.Option | t.Rule | t.Gather, node: t.Select, made: _Sources, chosen: Draft
) -> bool:
    """Is a rule without mistakes that other choices would let stand?"""
    if not isinstance(option, t.Option) or option.kind in ("score", "scale"):
        return True
    if option.kind == "force":
        return boolean(option.value, chosen.ctx, "`force`") is not None
    return _checked(option, node, made, chosen) is not None


def _amount(rule: t.Option, dims: list[str], chosen: Draft) -> Expr | SizeOf | None:
    """A number, or the size of an earlier set: ``top count(heavy)``, ``top most(listed)``."""
    value = rule.value
    if rule.kind == "top" and isinstance(value, t.Call) and value.function.id in SIZES:
        name = value.arguments[0] if len(value.arguments) == 1 and not value.keywords else None
        earlier = [s for s in chosen.steps if isinstance(s, Select)]
        sets = {s.name for s in earlier if list(s.dims) == dims}
        if isinstance(name, t.Name) and name.id in sets:
            return SizeOf(name.id, value.function.id == "most")
        help = f"sets of these: {', '.join(sorted(sets))}" if sets else None
        why = f"`{value.function.id}` takes an earlier set of the same dimensions"
        chosen.ctx.error("AL314", value.span, why=why, help=help)
        return None
    kind = Kind.INT if rule.kind == "top" else Kind.FLOAT
    amount = typed(value, chosen.ctx, (kind,), f"`{rule.kind}`")
    if amount is None or not check_level(amount, "a dimension", frozenset(), chosen.ctx):
        return None
    return amount


def _pairs(
    where: Expr, name: str, inner: Draft, draft: Draft, score: Expr | None = None
) -> PatternIR | None:
    """A condition over the tokens of a stage as a pattern."""
    attend = Attend(where, score=score, span=where.span)
    group = HeadGroup(e.Int(0), e.Symbol(SymbolName.HEADS), attend)
    return step_pattern(inner, name, [group], draft.sets.values())


def _gather(node: t.Gather, draft: Draft, runs: Space, key: Space) -> Gather | None:
    rule = _named(node.rule, Share, draft)
    inner = stage(draft, runs, [("keys", key)])
    where = boolean(node.where, inner.ctx, "`gather ... where`")
    weight = None
    if node.weight is not None:
        weight = typed(node.weight, inner.ctx, (Kind.FLOAT,), "`weight`")
        if weight is None:
            return None
    if where is None or rule is None:
        return None
    for x in (*walk(where), *(() if weight is None else walk(weight))):
        if isinstance(x, e.TokenInput | e.Table | e.Symbol):
            why = "which keys belong together may vary with their places alone"
            draft.ctx.error("AL314", node.span, why=why)
            return None
    pattern = _pairs(where, "gather", inner, draft, weight)
    return None if pattern is None else Gather(rule, pattern)


def _word(
    node: t.Select, kind: str, words: type[Choice], default: Choice, draft: Draft
) -> Choice | None:
    for option in node.options:
        if isinstance(option, t.Rule) and option.kind == kind:
            word = rule_word(option.rule, tuple(words), draft.ctx)
            return None if word is None else words(word)
    return default


def _named(name: t.Name, words: type[Choice], draft: Draft) -> Choice | None:
    known: Sequence[str] = [str(w) for w in words]
    if name.id in known:
        return words(name.id)
    hint = did_you_mean(name.id, known) or "one of: " + ", ".join(known)
    draft.ctx.error("AL206", name.span, name=name.id, help=hint)
    return None
