"""Programs: parts, pools, named attentions and what is returned."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import HeadGroup, InputDecl
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Part,
    Pool,
    Product,
    Program,
    Recurrence,
    Reduction,
    condition_by_head,
)
from attnlang.compiler.ir.reads import needed
from attnlang.compiler.ir.vector import (
    COUNTS,
    OF_KEYS,
    READOUTS,
    Map,
    Space,
    Tensor,
    own_spaces,
)
from attnlang.compiler.sema.attends import attend_clause
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.linears import PER_TOKEN, recurrence
from attnlang.compiler.sema.scope import AxisName, TokenName, ValueName
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
        inner = node.body if isinstance(node, t.Heads) else (node,)
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


def part(node: t.Part, draft: Draft) -> None:
    """``part b = blocks(n, 64)`` or ``windows(n, 32, stride=16)``."""
    forms = "`blocks(axis, size)` or `windows(axis, size, stride)`"
    made = node.value
    if not isinstance(made, t.Call) or made.function.id not in ("blocks", "windows"):
        draft.ctx.error("AL312", made.span, "not a way to cut an axis", help=f"it is {forms}")
        draft.define(node.name)
        return
    whole = made.function.id == "windows"
    keywords = {k.name.id: k.value for k in made.keywords}
    names = ("size", "stride") if whole else ("size",)
    given = dict(zip(names, made.arguments[1:], strict=False)) | keywords
    axis = made.arguments[0] if made.arguments else None
    if not isinstance(axis, t.Name) or set(given) != set(names) or len(made.arguments) > 3:
        draft.ctx.error("AL312", made.span, "takes an axis and sizes", help=f"it is {forms}")
        draft.define(node.name)
        return
    binding = draft.ctx.names.get(axis.id)
    if axis.id != "index" and not isinstance(binding, AxisName):
        hint = did_you_mean(axis.id, [*draft.ctx.axis_names(), *draft.parts])
        draft.ctx.error("AL101", axis.span, "no axis of that name", name=axis.id, help=hint)
        draft.define(node.name)
        return
    values = []
    for name in ("size", "stride"):
        value = given.get(name, given["size"])
        made_value = typed(value, draft.ctx, (Kind.INT,), f"the {name} of a part")
        if made_value is None or not check_level(made_value, "a dimension", frozenset(), draft.ctx):
            draft.define(node.name)
            return
        values.append(made_value)
    if draft.define(node.name):
        name = node.name.id
        draft.parts[name] = Part(name, axis.id, values[0], values[1], whole, span=node.span)
        draft.ctx = draft.ctx.with_names(**{name: AxisName(name)})


def pool(node: t.Pool, draft: Draft) -> None:
    """``pool kb[b] = mean(k)``."""
    call = node.value
    kinds = [str(r) for r in Reduction]
    if (
        not isinstance(call, t.Call)
        or call.function.id not in kinds
        or len(call.arguments) != 1
        or not isinstance(call.arguments[0], t.Name)
    ):
        draft.ctx.error(
            "AL312", call.span, "not a way to pool", help=f"one of {', '.join(kinds)} of a tensor"
        )
        draft.define(node.name)
        return
    source = call.arguments[0]
    space = _space(source, draft)
    axes = tuple(a.id for a in node.axes)
    good = space is not None
    for axis in node.axes:
        if space is not None and _root(axis.id, draft) not in (*space.axes, "index"):
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
    if draft.define(node.name) and good and space is not None:
        made = Space(axes, space.side, False, space.heads)
        draft.spaces[node.name.id] = made
        draft.steps.append(
            Pool(node.name.id, source.id, made, Reduction(call.function.id), divide)  # type: ignore[arg-type]
        )


def _root(axis: str, draft: Draft) -> str:
    """The axis that a part is of; an axis is its own."""
    return draft.parts[axis].axis if axis in draft.parts else axis


def _space(node: t.Expression, draft: Draft) -> Space | None:
    if isinstance(node, t.Name) and node.id in draft.spaces:
        return draft.spaces[node.id]
    name = node.id if isinstance(node, t.Name) else node.span.text
    draft.ctx.error(
        "AL310",
        node.span,
        "not a tensor",
        what=f"`{name}`",
        help=did_you_mean(name, draft.spaces) or f"tensors here: {', '.join(draft.spaces)}",
    )
    return None


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
        if any(_space(m, draft) is None for m in members):
            return None
        sets.append(tuple(m.id for m in members if isinstance(m, t.Name)))
    (query, *more), keys, values = sets
    same = len(keys) == len(values) and all(
        draft.spaces[a].same_tokens(draft.spaces[b]) for a, b in zip(keys, values, strict=False)
    )
    if more or not same:
        reason = "one tensor of queries" if more else "a value for every key"
        draft.ctx.error(
            "AL311", span, "", first=", ".join(keys), second=", ".join(values), help=reason
        )
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
    for option in node.options:
        if isinstance(option, t.Option) and option.kind in PER_TOKEN:
            why = f"`{option.kind}` belongs to `attend linear`"
            draft.ctx.error("AL315", option.span, why=why)
            return None
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


def _table(made: Product, inner: Draft) -> InputDecl:
    """A product as the step sees it: a run-time table."""
    rank = sum(d != "batch" for d in inner.table(made.table).dims)
    sizes = (e.Symbol(SymbolName.HEADS),) * (rank - made.by_head)
    return InputDecl(made.name, Kind.FLOAT, ("batch", "head", *sizes), (), False, False)


def assign(node: t.Assign, draft: Draft) -> None:
    """``name = attend ...`` or ``name = silu(q)``."""
    name = node.name.id
    if isinstance(node.value, t.Attend):
        made = branch(node.value, draft, name)
        if draft.define(node.name) and made is not None:
            space = replace(draft.spaces[made.query], heads=Side.Q)
            draft.spaces[name] = space
            draft.steps.append(Attention(name, (made,), space))
        return
    if isinstance(node.value, t.Call) and node.value.function.id in READOUTS:
        _readout(node.name, node.value, draft)
        return
    found = vector(node.value, draft, name)
    if not draft.define(node.name):
        return
    if found is None:
        draft.ctx = draft.ctx.with_names(**{name: ValueName(None)})
    else:
        value, space = found
        draft.spaces[name] = space
        draft.steps.append(Assign(name, value, space))


def _readout(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``mass = column_sum(a)``: numbers of an attention, read as ``k.mass`` from here on."""
    of = node.arguments[0] if len(node.arguments) == 1 and not node.keywords else None
    steps = {s.name: s for s in draft.steps if isinstance(s, Attention)}
    step = steps.get(of.id) if isinstance(of, t.Name) else None
    branch = step.branches[0] if step is not None and len(step.branches) == 1 else None
    good = draft.define(name)
    kind = node.function.id
    if not isinstance(branch, Branch) or len(branch.keys) != 1:
        what = f"`{node.span.text}`"
        help = f"`{kind}(a)` of a softmax attention `a = attend ...`"
        draft.ctx.error("AL310", node.span, what=what, help=help)
        return
    if not good or step is None:
        return
    space = step.space
    if kind in OF_KEYS:
        space = replace(draft.spaces[branch.keys[0]], heads=Side.Q)
    made = Map(kind, (Tensor(step.name),))
    draft.steps.append(Assign(name.id, made, space))
    draft.spaces[name.id] = space
    heads = ("head",) if kind not in COUNTS or condition_by_head(branch.pattern) else ()
    dims = ("batch", *heads, *space.axes)
    number = Kind.INT if kind in COUNTS else Kind.FLOAT
    decl = InputDecl(name.id, number, dims, (space.side,), False, False, span=node.span)
    draft.numbers.append(decl)
    draft.ctx = draft.ctx.with_names(**{name.id: TokenName(decl)})


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
    if not space.same_tokens(draft.spaces["q"]):
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
        if not all(draft.spaces[q].same_tokens(draft.spaces["q"]) for q in query):
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
    return Program(tuple(draft.parts.values()), needed(draft.steps, draft.result), draft.result)
