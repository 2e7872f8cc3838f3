"""Patterns: statements -> the checked pattern. Every independent mistake is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attnlang.compiler.diagnostics.model import Label
from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import (
    Fidelity,
    HeadGroup,
    Meta,
    ParameterDecl,
    PatternIR,
    Per,
    Requirement,
    Segment,
)
from attnlang.compiler.ir.program import Attention, attentions
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.sema import parameters
from attnlang.compiler.sema.attends import attend_clause
from attnlang.compiler.sema.budget import within_budget
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import boolean, expression, typed
from attnlang.compiler.sema.given import own_input
from attnlang.compiler.sema.levels import check_level
from attnlang.compiler.sema.numbers import with_channel
from attnlang.compiler.sema.parts import part, pool
from attnlang.compiler.sema.programs import (
    assign,
    declared_inputs,
    is_program,
    own_tensors,
    program,
    result,
    unnamed,
)
from attnlang.compiler.sema.repeats import named, repeat
from attnlang.compiler.sema.rows import check_empty_rule
from attnlang.compiler.sema.scope import (
    RESERVED,
    AxisName,
    Binding,
    ChoiceName,
    Context,
    TableName,
    ValueName,
)
from attnlang.compiler.sema.selects import select
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t

MAX_AXES = 3


def elaborate(
    pattern: t.Pattern,
    functions: Mapping[str, t.Function],
    given: Mapping[str, object],
    report: Report,
    *,
    complete: bool,
) -> PatternIR | None:
    """The checked pattern with parameter values ``given`` (defaults for the rest).

    ``complete``: every parameter must have a value (AL402). None when there were errors.
    """
    before = report.errors
    draft = Draft(pattern, Context(report, functions), meta=Meta(doc=pattern.doc or ""))
    _axes(draft)
    q_axes = draft.axes.get(Side.Q, ())
    declared = _parameters(draft, q_axes)
    draft.ctx = replace(draft.ctx, q_axes=q_axes, k_axes=draft.axes.get(Side.K, ()))
    draft.declared, draft.pattern_axes = declared, q_axes
    values = parameters.bind(declared, given, q_axes, pattern.name.id, draft.ctx)
    draft.values = values
    _parameter_names(draft, declared, dict(values))
    programmed = is_program(pattern)
    if programmed:
        draft.spaces = own_tensors(draft)
        draft.defined |= dict.fromkeys(draft.spaces, pattern.name.span)
    if complete:
        for d in declared:
            if d.name not in dict(values) and d.name not in given:
                draft.ctx.error(
                    "AL402",
                    d.span,
                    "has no default",
                    pattern=pattern.name.id,
                    name=d.name,
                    type=d.type_name,
                )
    for statement in pattern.body:
        _statement(statement, draft)
    steps = program(draft) if programmed else None
    if draft.attended is None and steps is None and report.errors == before:
        draft.ctx.error(
            "AL302",
            pattern.name.span,
            "returns nothing" if draft.steps else "attends nothing",
            name=pattern.name.id,
            missing="return" if draft.steps else "attend",
            help=_ending(draft),
        )
    if report.errors > before or report.full:
        return None
    made = PatternIR(
        pattern.name.id,
        declared,
        values,
        q_axes,
        draft.axes[Side.K],
        draft.segments,
        declared_inputs(draft, steps),
        tuple(draft.requirements),
        tuple(draft.groups),
        draft.meta,
        steps,
    )
    for attending in (made,) if steps is None else attentions(steps):
        for group in attending.groups:
            check_empty_rule(attending, group.attend, draft.ctx)
    return made if report.errors == before else None


BOTH = (Side.Q, Side.K)


def _sides(side: t.Name | None, expected: str, draft: Draft) -> tuple[Side, ...] | None:
    """What a declaration is for: both sides, or the one it names; None once it is reported."""
    if side is None:
        return BOTH
    if side.id in ("q", "k"):
        return (Side(side.id),)
    draft.ctx.error("AL010", side.span, "not a side", found=f"`{side.id}`", help=expected)
    return None


def _axes(draft: Draft) -> None:
    for node in (s for s in draft.pattern.body if isinstance(s, t.Over)):
        names = tuple(a.id for a in node.axes)
        sides = _sides(node.side, "`over q: ...` or `over k: ...`", draft)
        if sides is None:
            draft.ctx = replace(draft.ctx, axes_known=False)
            continue
        if len(names) > MAX_AXES:
            help = "the batch and the heads are not axes: every pattern has them"
            draft.ctx.error(
                "AL304", node.axes[MAX_AXES].span, "one too many", limit=MAX_AXES, help=help
            )
        for i, axis in enumerate(node.axes[: MAX_AXES + 1]):
            if axis.id in RESERVED or axis.id in (GRID, "index"):
                draft.ctx.error("AL108", axis.span, "choose another name", name=axis.id)
            elif axis.id in names[:i]:
                draft.ctx.error("AL102", axis.span, "listed twice", name=axis.id)
            draft.defined.setdefault(axis.id, axis.span)
        if any(side in draft.axes for side in sides):
            what = f"`over {node.side.id}`" if node.side else "`over`"
            draft.ctx.error("AL303", node.span, "said again", what=what)
        draft.axes.update(dict.fromkeys(sides, names))
    for side in (Side.Q, Side.K):
        if side not in draft.axes and not draft.ctx.axes_known:
            draft.axes[side] = ()
        elif side not in draft.axes:
            missing = f"over {side}: ..." if draft.axes else "over n"
            draft.ctx.error(
                "AL301",
                draft.pattern.name.span,
                "has no `over` line" if not draft.axes else "",
                name=draft.pattern.name.id,
                help=f"add `{missing}`",
            )
            draft.ctx = replace(draft.ctx, axes_known=False)
            draft.axes[side] = ()
            if not draft.axes[Side.Q]:
                draft.axes[Side.K] = ()
                break
    draft.ctx = draft.ctx.with_names(
        **{a: AxisName(a) for axes in draft.axes.values() for a in axes}
    )


def _parameters(draft: Draft, axes: tuple[str, ...]) -> tuple[ParameterDecl, ...]:
    declared: list[ParameterDecl] = []
    empty = replace(draft.ctx, names={})
    for parameter in draft.pattern.parameters:
        if not draft.define(parameter.name):
            continue
        made = parameters.declare(parameter, axes, empty)
        if made is not None:
            declared.append(made)
        else:
            draft.ctx = draft.ctx.with_names(**{parameter.name.id: ValueName(None)})
    return tuple(declared)


def _parameter_names(
    draft: Draft, declared: tuple[ParameterDecl, ...], values: Mapping[str, object]
) -> None:
    names: dict[str, Binding] = {}
    for d in declared:
        if d.kind is None:
            names[d.name] = ChoiceName(str(values.get(d.name, d.choices[0])), d.choices)
        elif d.per is Per.ONE:
            names[d.name] = ValueName(e.Param(d.name, d.kind, span=d.span))
        else:
            names[d.name] = TableName(d.name, d.kind, 1, d.per)
    draft.ctx = draft.ctx.with_names(**names)


def _statement(written: t.Statement, draft: Draft) -> None:
    node = named(written, draft)
    match node:
        case None | t.Over():
            pass  # a mistake, or read first, by _axes
        case t.Paper():
            _paper(node, draft)
        case t.Fidelity():
            levels: dict[str, Fidelity] = {
                "verified": "verified",
                "interpretation": "interpretation",
            }
            if node.level.id in levels:
                draft.meta = replace(draft.meta, fidelity=levels[node.level.id])
            else:
                draft.ctx.error(
                    "AL206",
                    node.level.span,
                    name=node.level.id,
                    help=did_you_mean(node.level.id, levels),
                )
        case t.Extra():
            _extra(node, draft)
        case t.Input():
            own_input(node, draft)
        case t.Require():
            condition = boolean(node.condition, draft.ctx, "a requirement")
            if condition is not None and check_level(
                condition, "require", draft.input_names, draft.ctx
            ):
                draft.requirements.append(
                    Requirement(condition, node.message, span=node.condition.span)
                )
        case t.Let():
            ctx = with_channel(draft.ctx) if draft.spaces else draft.ctx
            value = expression(node.value, ctx)
            if value is not None and not within_budget(value, node.span, draft.ctx):
                value = None
            if draft.define(node.name):
                draft.ctx = draft.ctx.with_names(**{node.name.id: ValueName(value)})
            elif node.name.id not in draft.ctx.names:
                draft.ctx = draft.ctx.with_names(**{node.name.id: ValueName(None)})
        case t.Heads():
            _heads(node, draft)
        case t.Part():
            part(node, draft)
        case t.Pool():
            pool(node, draft)
        case t.Select():
            select(node, draft)
        case t.Assign():
            assign(node, draft)
        case t.Result():
            result(node, draft)
        case t.Repeat():
            repeat(node, draft, _statement)
        case t.Attend():
            if draft.attended is not None:
                _attend_again(node.span, draft)
            draft.attended = node.span
            if draft.spaces:
                unnamed(node, draft, None)
                return
            attend = attend_clause(node, draft)
            if attend is not None:
                heads = e.Symbol(SymbolName.HEADS)
                draft.groups.append(HeadGroup(e.Int(0), heads, attend))


def _attend_again(span: Span, draft: Draft) -> None:
    first = () if draft.attended is None else (Label(draft.attended, "already said here"),)
    draft.ctx.error(
        "AL303",
        span,
        "said again",
        what="`attend`",
        secondary=first,
        help="join the conditions with `or`, or put every `attend` into a group `heads[...]:`",
    )


def _paper(node: t.Paper, draft: Draft) -> None:
    fields = dict(node.fields)
    for name in fields:
        if name not in ("year", "arxiv"):
            at = node.span.start + node.span.text.rfind(f" {name} ") + 1
            draft.ctx.error(
                "AL010",
                Span(node.span.source, at, at + len(name)),
                found=f"`{name}`",
                help='it is `paper "title" year 2024 arxiv "2401.00001"`',
            )
    year = fields.get("year", "")
    draft.meta = replace(
        draft.meta,
        paper=node.title,
        year=int(year) if year.isascii() and year.isdigit() and len(year) == 4 else None,
        arxiv=fields.get("arxiv"),
    )


def _extra(node: t.Extra, draft: Draft) -> None:
    if node.name.id in (GRID, "index"):
        draft.ctx.error("AL108", node.name.span, "choose another name", name=node.name.id)
        return
    if not draft.define(node.name):
        return
    sides = _sides(node.side, "`on q` or `on k`", draft) or BOTH
    draft.ctx = replace(draft.ctx, segments={**draft.ctx.segments, node.name.id: sides})
    size: Expr | None = None
    if node.size is not None:
        size = typed(node.size, draft.ctx, (Kind.INT,), "a size")
        if size is None or not check_level(size, "a size", draft.input_names, draft.ctx):
            return
        for x in walk(size):
            if isinstance(x, e.Length) and x.axis in draft.ctx.segments:
                word = f"the number of `{x.axis}` tokens"
                draft.ctx.error("AL207", x.span, "not an axis", clause="a size", word=word)
                return
    segment = Segment(node.name.id, node.place, size, sides)
    (draft.prefixes if node.place == "prefix" else draft.suffixes).append(segment)


def _heads(node: t.Heads, draft: Draft) -> None:
    bounds: list[Expr | None] = []
    for written, missing in ((node.start, e.Int(0)), (node.stop, e.Symbol(SymbolName.HEADS))):
        bound: Expr | None = missing
        if written is not None:
            bound = typed(written, draft.ctx, (Kind.INT,), "a bound of `heads`")
            if bound is not None and not check_level(
                bound, "a group of heads", draft.input_names, draft.ctx
            ):
                bound = None
        bounds.append(bound)
    outer = draft.ctx
    attends = [s for s in node.body if isinstance(s, t.Attend)]
    if len(attends) != 1:
        draft.ctx.error("AL305", node.span, "this group", found=len(attends))
    if draft.attended is not None and not draft.grouped:
        _attend_again(node.span, draft)
    for statement in node.body:
        if isinstance(statement, t.Let):
            _statement(statement, draft)
            draft.defined.pop(statement.name.id, None)
        elif not isinstance(statement, t.Attend):
            draft.ctx.error("AL308", statement.span, "not inside `heads`")
    for attend_node in attends[:1]:
        start, stop = bounds
        if draft.spaces:
            if start is not None and stop is not None:
                unnamed(attend_node, draft, (start, stop))
            continue
        attend = attend_clause(attend_node, draft)
        if attend is not None and start is not None and stop is not None:
            draft.groups.append(HeadGroup(start, stop, attend))
    draft.attended, draft.grouped = draft.attended or node.span, True
    draft.ctx = outer


def _ending(draft: Draft) -> str:
    """What the pattern may end with."""
    made = [s.name for s in draft.steps if isinstance(s, Attention)]
    if made:
        return f"end it with what every query gets, for example `return {' + '.join(made)}`"
    return "end it with `attend where ...`"
