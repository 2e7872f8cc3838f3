"""Tensors that stand alone behind a name: numbers of tokens, and features as tokens."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Select,
    Turn,
    condition_by_head,
)
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    CHANNEL,
    COUNTS,
    OF_KEYS,
    ROW_SUM,
    Map,
    Scalar,
    Space,
    Tensor,
    Vector,
)
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, typed
from attnlang.compiler.sema.numbers import as_query
from attnlang.compiler.sema.scope import AxisName, TokenName, ValueName
from attnlang.compiler.sema.stage import check_leaves, stage
from attnlang.compiler.sema.vectors import turned
from attnlang.compiler.syntax import tree as t


def turn(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``name = channels(q)``."""
    found = turned(node, draft)
    if not draft.define(name):
        return
    if found is None:
        draft.ctx = draft.ctx.with_names(**{name.id: ValueName(None)})
        return
    value, made, space = found
    draft.spaces[name.id] = space
    draft.ctx = draft.ctx.with_names(**{CHANNEL: AxisName(CHANNEL)})
    draft.steps.append(Turn(name.id, value, made, space))


def readout(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``mass = column_sum(a)``: numbers of an attention, read as ``k.mass`` from here on."""
    if name.id not in draft.defined:  # what reads a mistake is none
        draft.ctx = draft.ctx.with_names(**{name.id: ValueName(None)})
    if node.function.id == "rank":
        _rank(name, node, draft)
        return
    sets = {s.name: s for s in draft.steps if isinstance(s, Select) and s.query in draft.spaces}
    of = node.arguments[0] if node.arguments and not node.keywords else None
    if node.function.id == "count" and isinstance(of, t.Name) and of.id in sets:
        _members(name, node, sets[of.id], draft)
        return
    kind = node.function.id
    of = of if len(node.arguments) == 1 + (kind == ROW_SUM) else None
    steps = {s.name: s for s in draft.steps if isinstance(s, Attention)}
    step = steps.get(of.id) if isinstance(of, t.Name) else None
    branch = step.branches[0] if step is not None and len(step.branches) == 1 else None
    good = draft.define(name)
    if not isinstance(branch, Branch) or len(branch.keys) != 1:
        what = f"`{node.span.text}`"
        form = f"{kind}(a, condition)" if kind == ROW_SUM else f"{kind}(a)"
        help = f"`{form}` of a softmax attention `a = attend ...`"
        if kind == "count":
            help += ", or of a set that a `select` fills"
        draft.ctx.error("AL310", node.span, what=what, help=help)
        return
    if not good or step is None:
        return
    space = step.space
    if kind == ROW_SUM:
        told = _told(node.arguments[1], branch, draft)
        if told is not None:
            _number(name, Map(kind, (Tensor(step.name), told)), space, draft, True)
        return
    if kind in OF_KEYS:
        space = draft.spaces[branch.keys[0]]
    by_head = kind not in COUNTS or condition_by_head(branch.pattern)
    _number(name, Map(kind, (Tensor(step.name),)), space, draft, by_head)


def _told(node: t.Expression, branch: Branch, draft: Draft) -> Scalar | None:
    """The condition of ``row_sum(a, k.image)``: of a key of the attention and its head."""
    (key,) = branch.keys
    inner = stage(draft, draft.spaces[branch.query], [(key, draft.spaces[key])])
    found = boolean(node, inner.ctx, "which keys are summed over")
    if found is None or not check_leaves(found, inner, node.span):
        return None
    own = (e.Coord, e.Index, e.TokenInput, e.InSegment)
    asked = next((x for x in walk(found) if isinstance(x, own) and x.side is Side.Q), None)
    if asked is not None:
        help = "pairs are named by an attention of their own: `exp(lse(part) - lse(a))`"
        what = f"`{asked.span.text}`"
        draft.ctx.error("AL310", asked.span, "the condition is one of keys", what=what, help=help)
        return None
    return Scalar(as_query(e.Select(found, e.Float(1.0), e.Float(0.0))))


def _members(name: t.Name, node: t.Call, chosen: Select, draft: Draft) -> None:
    """``count(chosen)``, or with what each member counts: ``count(bits, pow2(k.r))``."""
    good = draft.define(name)
    space = draft.spaces[chosen.query]
    arguments: tuple[Vector, ...] = (Tensor(chosen.name),)
    if len(node.arguments) > 1:
        axes = chosen.dims[chosen.by_head + len(space.axes) :]
        inner = stage(draft, space, [("keys", Space(axes, draft.spaces[chosen.key].side))])
        given = node.arguments[1]
        weight = typed(given, inner.ctx, (Kind.INT,), "what a member counts")
        if weight is None or not check_leaves(weight, inner, given.span):
            return
        own = (e.Int, e.Param, e.Length, e.Coord, e.Arith, e.Apply, e.Neg)
        if any(
            not isinstance(x, own) or (isinstance(x, e.Coord) and x.side is Side.Q)
            for x in walk(weight)
        ):
            why = "what a member counts may vary with its place alone"
            draft.ctx.error("AL310", given.span, what=f"`{given.span.text}`", help=why)
            return
        arguments = (*arguments, Scalar(weight))
    if good and len(node.arguments) <= 2:
        _number(name, Map("count", arguments), space, draft, chosen.by_head)


def _rank(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``place = rank(k.bucket)``: where each token stands once all are sorted by a number."""
    good = draft.define(name)
    value = None
    if len(node.arguments) == 1 and not node.keywords:
        value = typed(node.arguments[0], draft.ctx, (Kind.INT, Kind.FLOAT), "what is sorted by")
    if value is None:
        return
    own = (e.Coord, e.Index, e.TokenInput)
    sides = {x.side for x in walk(value) if isinstance(x, own)}
    if len(sides) != 1:
        help = "`rank(q.x)` or `rank(k.x)`: a number of the tokens of one side"
        draft.ctx.error("AL310", node.span, what=f"`{node.span.text}`", help=help)
        return
    space = draft.spaces[str(*sides)]
    inner = stage(draft, space, [("keys", space)])
    if not good or not check_leaves(value, inner, node.span):
        return
    by_head = {i.name for i in (*draft.inputs, *draft.numbers) if "head" in i.dims}
    heads = any(
        isinstance(x, e.Symbol | e.Table) or (isinstance(x, e.TokenInput) and x.name in by_head)
        for x in walk(value)
    )
    _number(name, Map("rank", (Scalar(as_query(value)),)), space, draft, heads)


def _number(name: t.Name, made: Map, space: Space, draft: Draft, by_head: bool) -> None:
    """A number for each token of a space, as later lines read it."""
    space = replace(space, heads=Side.Q if by_head else Side.K)
    draft.steps.append(Assign(name.id, made, space))
    draft.spaces[name.id] = space
    number(
        name, Kind.INT if made.function in (*COUNTS, "rank") else Kind.FLOAT, space, by_head, draft
    )


def number(name: t.Name, kind: Kind, space: Space, by_head: bool, draft: Draft) -> None:
    """Later steps read a tensor of one feature as a number of its tokens."""
    dims = ("batch", *(("head",) if by_head else ()), *space.axes)
    decl = InputDecl(name.id, kind, dims, (space.side,), False, False, span=name.span)
    draft.numbers.append(decl)
    draft.ctx = draft.ctx.with_names(**{name.id: TokenName(decl)})
