"""Programs: parts, pools, named attentions and what is returned."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import HeadGroup, InputDecl
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    PairProduct,
    Product,
    Program,
    Recurrence,
)
from attnlang.compiler.ir.reads import needed, read_names, told_alone
from attnlang.compiler.ir.vector import (
    READOUTS,
    TURNS,
    Space,
    Tensor,
    is_number,
    own_spaces,
)
from attnlang.compiler.sema.attends import attend_clause
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.linears import recurrence
from attnlang.compiler.sema.parts import tensor
from attnlang.compiler.sema.readouts import number, readout, turn
from attnlang.compiler.sema.stage import shifted, stage, step_pattern
from attnlang.compiler.sema.vectors import vector
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t

UNNAMED = "attended"
"""The result of an ``attend`` that has no name."""

OWN = ("q", "k", "v")


def is_program(pattern: t.Pattern) -> bool:
    """Does any statement need more than one attention of q, k and v?"""
    for node in pattern.body:
        inner = node.body if isinstance(node, t.Heads | t.Repeat) else (node,)
        for s in inner:
            if isinstance(s, t.Part | t.Pool | t.Select | t.Assign | t.Result):
                return True
            if isinstance(s, t.Attend) and (s.sources or s.linear or _multiplies(s)):
                return True
    return False


def _multiplies(node: t.Attend) -> bool:
    """Does a score multiply queries with a table of vectors?"""
    found: list[t.Node] = [o for o in node.options if isinstance(o, t.Option)]
    while found:
        here = found.pop()
        if isinstance(here, t.Call) and here.function.id == "dot":
            return True
        found.extend(t.children(here))
    return False


def own_tensors(draft: Draft) -> dict[str, Space]:
    """The tensors of every call."""
    return own_spaces(draft.axes[Side.Q], draft.axes[Side.K])


def sources(
    given: tuple[t.Expression, ...], draft: Draft, span: Span
) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """The names of the query, key and value tensors."""
    if not given:
        return "q", ("k",), ("v",)
    if len(given) != 3:
        draft.ctx.error(
            "AL310",
            span,
            what=f"`attend` with {len(given)} tensors",
            help="`attend q, k, v where ...`: queries, keys and values",
        )
        return None
    sets: list[tuple[str, ...]] = []
    for item in given:
        members = item.items if isinstance(item, t.Tuple) else (item,)
        if any(tensor(m, draft) is None for m in members):
            return None
        sets.append(tuple(m.id for m in members if isinstance(m, t.Name)))
    (query, *more), keys, values = sets
    same = len(keys) == len(values) and all(
        draft.same_tokens(draft.spaces[a], draft.spaces[b])
        for a, b in zip(keys, values, strict=False)
    )
    if more or not same:
        reason = "one tensor of queries" if more else "every key needs a value: give tensors alike"
        there = f"a value for every token of `{', '.join(keys)}` stands here"
        at, label = (given[0].span, "") if more else (given[2].span, there)
        first, second = ", ".join(keys), ", ".join(values)
        draft.ctx.error("AL311", at, label, first=first, second=second, help=reason)
        return None
    return query, keys, values


def branch(
    node: t.Attend, draft: Draft, name: str, heads: tuple[Expr, Expr] | None = None
) -> Branch | Recurrence | None:
    """One attention of a program as a pattern of its own."""
    names = sources(node.sources, draft, node.span)
    if names is None:
        return None
    query, keys, values = names
    space = draft.spaces[query]
    members = [(k, draft.spaces[k]) for k in keys]
    for member, other in members:
        if other.whole and sum(m.whole for _, m in members) > 1:
            draft.ctx.error("AL311", node.span, first=member, second="another whole sequence")
            return None
    inner = stage(draft, space, members)
    if node.linear:
        return _linear(node, draft, inner, (query, *keys, *values), name, heads)
    inner.products = {}
    attend = attend_clause(node, inner)
    if attend is None:
        return None
    group = HeadGroup(e.Int(0), e.Symbol(SymbolName.HEADS), attend)
    if heads is not None:
        group = shifted(group, heads[0], dict(draft.values))
    tables = [_table(p, inner) for p in inner.products.values()]
    made = step_pattern(inner, name, [group], (*draft.sets.values(), *tables))
    if made is None:
        return None
    start, stop = heads or (None, None)
    return Branch(query, keys, values, made, start, stop, tuple(inner.products.values()))


def _linear(
    node: t.Attend,
    draft: Draft,
    inner: Draft,
    names: tuple[str, ...],
    step: str,
    heads: tuple[Expr, Expr] | None,
) -> Recurrence | None:
    spaces = [draft.spaces[n] for n in names]
    if len(names) != 3 or spaces[0].axes != spaces[1].axes:
        why = "queries and keys are the tokens of one sequence"
        draft.ctx.error("AL315", node.span, why=why)
        return None
    return recurrence(node, inner, (names[0], names[1], names[2]), step, heads)


def _table(made: Product | PairProduct, inner: Draft) -> InputDecl:
    """A product as the step sees it: a run-time table."""
    rank = 2
    if isinstance(made, Product):
        rank = sum(d != "batch" for d in inner.table(made.table).dims) - made.by_head
    sizes = (e.Symbol(SymbolName.HEADS),) * rank
    return InputDecl(made.name, Kind.FLOAT, ("batch", "head", *sizes), (), False, False)


def assign(node: t.Assign, draft: Draft) -> None:
    """``name = attend ...`` or ``name = silu(q)``."""
    name = node.name.id
    if isinstance(node.value, t.Attend):
        made = branch(node.value, draft, name)
        if made is None:
            draft.fail(node.name)
        elif draft.define(node.name):
            space = replace(draft.spaces[made.query], heads=Side.Q)
            read = made.value if isinstance(made, Recurrence) else made.values[0]
            given = draft.spaces[read].turned
            if given is not None and given.side is Side.Q:
                space = replace(space, turned=given)
            draft.spaces[name] = space
            draft.steps.append(Attention(name, (made,), space))
        return
    made_by = {**dict.fromkeys(TURNS, turn), **dict.fromkeys(READOUTS, readout)}
    if isinstance(node.value, t.Call) and node.value.function.id in made_by:
        made_by[node.value.function.id](node.name, node.value, draft)
        return
    found = vector(node.value, draft, name)
    if found is None:
        draft.fail(node.name)
    elif draft.define(node.name):
        value, space = found
        draft.spaces[name] = space
        draft.steps.append(Assign(name, value, space))
        if is_number(value):
            number(node.name, Kind.FLOAT, space, True, draft)


def unnamed(node: t.Attend, draft: Draft, heads: tuple[Expr, Expr] | None) -> None:
    """An ``attend`` whose result is the program's."""
    name = UNNAMED if heads is None else f"{UNNAMED}.{len(draft.branches)}"
    made = branch(node, draft, name, heads)
    if made is not None:
        draft.branches.append(made)


def result(node: t.Result, draft: Draft) -> None:
    if draft.returned is not None:
        draft.ctx.error("AL303", node.span, "said again", what="`return`")
    draft.returned = node.span
    found = vector(node.value, draft)
    if found is None:
        return
    value, space = found
    if not draft.same_tokens(space, draft.spaces["q"]):
        draft.ctx.error(
            "AL311",
            node.value.span,
            "not one vector for each query",
            first="return",
            second="q",
            help="a program returns what every query gets",
        )
        return
    draft.result = value


def program(draft: Draft) -> Program | None:
    """The whole program, once every statement is read."""
    if draft.branches and draft.returned is not None:
        draft.ctx.error(
            "AL313",
            draft.returned,
            "and an `attend` without a name stands above",
            help="give it one: `name = attend where ...`",
        )
        return None
    if draft.branches:
        query = {b.query for b in draft.branches}
        if not all(draft.same_tokens(draft.spaces[q], draft.spaces["q"]) for q in query):
            draft.ctx.error(
                "AL313",
                draft.pattern.name.span,
                help="the last `attend` must be of queries that lie where `q` does",
            )
            return None
        space = draft.spaces["q"]
        draft.steps.append(Attention(UNNAMED, tuple(draft.branches), space))
        draft.result = Tensor(UNNAMED)
    if draft.result is None:
        return None
    steps = needed(draft.steps, draft.result)
    read = read_names(steps, draft.result)
    given = tuple((name, space) for name, space in draft.given.items() if name in read)
    told = told_alone(steps, draft.result)
    return Program(tuple(draft.parts.values()), steps, draft.result, given, told)


def declared_inputs(draft: Draft, made: Program | None) -> tuple[InputDecl, ...]:
    """A pattern's inputs; those that the choices leave unread may be left out of a call."""
    if made is None:
        return tuple(draft.inputs)
    read = read_names(made.steps, made.result)
    return tuple(i if i.name in read else replace(i, optional=True) for i in draft.inputs)
