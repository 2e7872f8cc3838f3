"""Expressions: syntax -> typed IR. None stands for a part whose mistake is already reported."""

from __future__ import annotations

from typing import assert_never

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.builtins import BUILTINS
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import Per
from attnlang.compiler.ir.simplify import apply_rules
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.sema.budget import within_budget
from attnlang.compiler.sema.choices import compare_choice
from attnlang.compiler.sema.scope import (
    SYMBOLS,
    AxisName,
    ChoiceName,
    Context,
    TableName,
    TokenName,
    ValueName,
)
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.limits import MAX_DEPTH, MAX_LEVELS, MAX_NODES

NUMERIC = (Kind.INT, Kind.FLOAT)


def expression(node: t.Expression, ctx: Context) -> Expr | None:
    """The IR of one expression; constant parts are folded on the way."""
    if not ctx.spend(node.span):
        return None
    if ctx.report.levels >= MAX_LEVELS:
        ctx.error(
            "AL007", node.span, "this is the part nested too deep", limit=MAX_NODES, depth=MAX_DEPTH
        )
        return None
    ctx.report.levels += 1
    try:
        built = _build(node, ctx)
    finally:
        ctx.report.levels -= 1
    return None if built is None else apply_rules(built) or built


def _build(node: t.Expression, ctx: Context) -> Expr | None:
    match node:
        case t.Number():
            return (
                e.Int(node.value, span=node.span)
                if isinstance(node.value, int)
                else e.Float(node.value, span=node.span)
            )
        case t.Name():
            return _name(node, ctx)
        case t.Attribute():
            return _attribute(node, ctx)
        case t.Subscript():
            return _subscript(node, ctx)
        case t.Call():
            from attnlang.compiler.sema.calls import call

            return call(node, ctx)
        case t.Negative():
            operand = typed(node.operand, ctx, NUMERIC, "the operand of `-`")
            return None if operand is None else e.Neg(operand, span=node.span)
        case t.Not():
            operand = boolean(node.operand, ctx, "the operand of `not`")
            return None if operand is None else e.Not(operand, span=node.span)
        case t.Binary():
            return _binary(node, ctx)
        case t.Compare():
            return _compare(node, ctx)
        case t.Boolean():
            operands = [boolean(o, ctx, f"an operand of `{node.op}`") for o in node.operands]
            if any(o is None for o in operands):
                return None
            made = tuple(o for o in operands if o is not None)
            return (e.And if node.op == "and" else e.Or)(made, span=node.span)
        case t.Member():
            return _member(node, ctx)
        case t.Conditional():
            return _conditional(node, ctx)
        case t.Tuple():
            ctx.error(
                "AL201",
                node.span,
                "a tuple",
                what="an expression",
                expected="a single value",
                found="a tuple",
            )
            return None
        case _:
            assert_never(node)


def typed(node: t.Expression, ctx: Context, kinds: tuple[Kind, ...], what: str) -> Expr | None:
    """An expression of one of ``kinds``; an int where only floats fit is converted."""
    value = expression(node, ctx)
    if value is None:
        return None
    kind = kind_of(value)
    if kind in kinds:
        return value
    if kind is Kind.INT and Kind.FLOAT in kinds:
        converted = e.Apply("float", (value,), span=value.span)
        return apply_rules(converted) or converted
    expected = " or ".join(str(k) for k in kinds)
    hint = None
    if kind is Kind.FLOAT and kinds == (Kind.INT,):
        hint = "round it: `floor(...)`, `ceil(...)` or `round(...)`; integer division is `//`"
    elif kind is Kind.INT and kinds == (Kind.BOOL,):
        hint = "compare it with something, for example `... != 0`"
    ctx.error(
        "AL201", node.span, f"this is {kind}", what=what, expected=expected, found=kind, help=hint
    )
    return None


def boolean(node: t.Expression, ctx: Context, what: str) -> Expr | None:
    return typed(node, ctx, (Kind.BOOL,), what)


def _name(node: t.Name, ctx: Context) -> Expr | None:
    name = node.id
    if name in ("true", "false"):
        return e.Bool(name == "true", span=node.span)
    if name == SymbolName.SCORE and ctx.score is not None:
        return ctx.score
    match ctx.names.get(name):
        case ValueName(value=value):
            return value
        case ChoiceName(choices=choices):
            ctx.error(
                "AL107",
                node.span,
                "one of several choices",
                name=name,
                help=f"compare it: `{name} == {choices[0]}`",
            )
        case AxisName(axis=axis):
            ctx.error(
                "AL107",
                node.span,
                "an axis",
                name=name,
                help=f"a token's coordinate is `q.{axis}` or `k.{axis}`, a length `len({axis})`",
            )
        case TableName(rank=0, kind=kind):
            return e.Table(name, kind, (), span=node.span)
        case TableName(per=per):
            entry = {Per.AXIS: (*ctx.q_axes, "axis")[0], Per.HEAD: "head"}.get(per, "...")
            label = "a table" if per is Per.ONE else f"one value for each {per}"
            ctx.error(
                "AL107", node.span, label, name=name, help=f"read an entry: `{name}[{entry}]`"
            )
        case TokenName():
            ctx.error(
                "AL107",
                node.span,
                "one value per token",
                name=name,
                help=f"say whose: `q.{name}` or `k.{name}`",
            )
        case None if name in SYMBOLS:
            return e.Symbol(SYMBOLS[name], span=node.span)
        case None if name in ("q", "k"):
            ctx.error(
                "AL107",
                node.span,
                "a token",
                name=name,
                help=f"say what of it: `{name}.{(ctx.q_axes or ('n',))[0]}`",
            )
        case None if name in ctx.functions or name in BUILTINS or name == "len":
            ctx.error("AL107", node.span, "a function", name=name, help=f"call it: `{name}(...)`")
        case None if name in ctx.segments:
            ctx.error(
                "AL107",
                node.span,
                "a run of tokens",
                name=name,
                help=f"ask whether a token is one of them: `q in {name}`",
            )
        case None:
            if name == SymbolName.SCORE:
                help: str | None = "`s`, the score of a pair, is there only inside `score`"
            else:
                help = did_you_mean(name, ctx.names, (*SYMBOLS, "true", "false"))
            ctx.error("AL101", node.span, "not defined here", name=name, help=help)
    return None


_NO_AXES = "a function reads the axes it is given: `def f(a: axis)` reads `q.a`"


def _attribute(node: t.Attribute, ctx: Context) -> Expr | None:
    if not isinstance(node.base, t.Name) or node.base.id not in ("q", "k"):
        ctx.error(
            "AL106",
            node.span,
            "the token before the `.` is `q` or `k`",
            name=node.span.text,
            help=f"`q.{node.name.id}` of the query, `k.{node.name.id}` of the key",
        )
        return None
    side, name = Side(node.base.id), node.name.id
    binding = ctx.names.get(name)
    if isinstance(binding, AxisName) and binding.axis in ctx.axes(side):
        return e.Coord(side, binding.axis, span=node.span)
    if isinstance(binding, TokenName):
        declared = binding.declaration
        if side in declared.sides:
            return e.TokenInput(side, declared.name, declared.kind, span=node.span)
        ctx.error(
            "AL106",
            node.span,
            name=f"{side}.{name}",
            help=f"`{name}` is declared over the axes of the other side",
        )
        return None
    if name == "index":
        return e.Index(side, span=node.span)
    if side in ctx.segments.get(name, ()):
        return e.Coord(side, name, span=node.span)
    if binding == ValueName(None) or not ctx.axes_known:
        return None
    known = [*ctx.axis_names(side), "index", *(n for n, s in ctx.segments.items() if side in s)]
    known += [n for n, b in ctx.names.items() if isinstance(b, TokenName)]
    ctx.error(
        "AL106",
        node.name.span,
        "no such coordinate or input",
        name=f"{side}.{name}",
        help=did_you_mean(name, known) if ctx.axis_names() else _NO_AXES,
    )
    return None


def _subscript(node: t.Subscript, ctx: Context) -> Expr | None:
    if not isinstance(node.base, t.Name):
        ctx.error(
            "AL107", node.base.span, name="this", help="only tables are indexed: `table[i, j]`"
        )
        return None
    name = node.base.id
    table = ctx.names.get(name)
    scalar = isinstance(table, TableName) and table.rank == 0
    if scalar or isinstance(table, ValueName) or (table is None and name in SYMBOLS):
        if table != ValueName(None):
            ctx.error("AL107", node.base.span, "has one value", name=name, help="it takes no index")
        return None
    if not isinstance(table, TableName):
        _name(node.base, ctx)  # reports what the name is
        return None
    if table.rank != len(node.indices):
        count = f"{table.rank} " + ("index" if table.rank == 1 else "indices")
        help = "one index for each dimension; the batch is implied"
        if table.dims:
            help = f"one index for each of its dimensions: {', '.join(table.dims)}"
        ctx.error("AL205", node.span, name=name, expected=count, found=len(node.indices), help=help)
        return None
    if table.per is Per.AXIS:
        return _per_axis(node, table, ctx)
    indices = [typed(i, ctx, (Kind.INT,), f"an index of `{name}`") for i in node.indices]
    if any(i is None for i in indices):
        return None
    return e.Table(name, table.kind, tuple(i for i in indices if i is not None), span=node.span)


def _per_axis(node: t.Subscript, table: TableName, ctx: Context) -> Expr | None:
    index = node.indices[0]
    binding = ctx.names.get(index.id) if isinstance(index, t.Name) else None
    if isinstance(binding, AxisName) and binding.axis in ctx.q_axes:
        return e.Param(table.name, table.kind, binding.axis, span=node.span)
    ctx.error(
        "AL205",
        index.span,
        f"one of {', '.join(ctx.q_axes)} goes here",
        name=table.name,
        expected="an axis of the queries",
        found="an axis of the keys" if isinstance(binding, AxisName) else "something else",
    )
    return None


def _binary(node: t.Binary, ctx: Context) -> Expr | None:
    op = node.op
    kinds = (Kind.INT,) if op in ("//", "%") else (Kind.FLOAT,) if op == "/" else NUMERIC
    left = typed(node.left, ctx, kinds, f"the left of `{op}`")
    right = typed(node.right, ctx, kinds, f"the right of `{op}`")
    if left is None or right is None:
        return None
    left, right = _same_kind(left, right)
    if op in ("//", "%", "/") and isinstance(right, e.Int | e.Float) and right.value == 0:
        ctx.error("AL208", node.right.span, "this is 0", op=op)
        return None
    return e.Arith(op, left, right, span=node.span)  # type: ignore[arg-type]


def _same_kind(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """Both as floats as soon as one is."""
    if kind_of(left) is not kind_of(right):
        if kind_of(left) is Kind.INT:
            left = e.Apply("float", (left,), span=left.span)
        elif kind_of(right) is Kind.INT:
            right = e.Apply("float", (right,), span=right.span)
    return left, right


def _compare(node: t.Compare, ctx: Context) -> Expr | None:
    for operand in node.operands:
        if isinstance(operand, t.Name) and isinstance(ctx.names.get(operand.id), ChoiceName):
            return compare_choice(node, ctx)
    kinds = (*NUMERIC, Kind.BOOL)
    values = [typed(o, ctx, kinds, "an operand of a comparison") for o in node.operands]
    if any(v is None for v in values):
        return None
    made = [v for v in values if v is not None]
    parts: list[Expr] = []
    for i, op in enumerate(node.ops):
        left, right = made[i], made[i + 1]
        mixed = (kind_of(left) is Kind.BOOL) != (kind_of(right) is Kind.BOOL)
        if mixed or (kind_of(left) is Kind.BOOL and op not in ("==", "!=")):
            ctx.error(
                "AL201",
                node.operands[i + 1].span,
                f"this is {kind_of(right)}",
                what=f"the right of `{op}`",
                expected=kind_of(left) if mixed else "a number",
                found=kind_of(right),
            )
            return None
        span = node.operands[i].span.to(node.operands[i + 1].span)
        parts.append(e.Compare(op, *_same_kind(left, right), span=span))  # type: ignore[arg-type]
    return parts[0] if len(parts) == 1 else e.And(tuple(parts), span=node.span)


def _member(node: t.Member, ctx: Context) -> Expr | None:
    if not isinstance(node.element, t.Name) or node.element.id not in ("q", "k"):
        ctx.error(
            "AL201",
            node.element.span,
            what="the left of `in`",
            expected="a token",
            found=f"`{node.element.span.text}`",
            help=f"`q in {node.collection.id}` or `k in {node.collection.id}`",
        )
        return None
    side, segment = Side(node.element.id), node.collection.id
    if segment == e.GRID or side in ctx.segments.get(segment, ()):
        return e.InSegment(side, segment, span=node.span)
    known = [e.GRID, *(n for n, s in ctx.segments.items() if side in s)]
    ctx.error(
        "AL101",
        node.collection.span,
        "no prefix or suffix of that name",
        name=segment,
        help=did_you_mean(segment, known),
    )
    return None


def _conditional(node: t.Conditional, ctx: Context) -> Expr | None:
    condition = boolean(node.condition, ctx, "the condition of `if`")
    then, otherwise = expression(node.then, ctx), expression(node.otherwise, ctx)
    if condition is None or then is None or otherwise is None:
        return None
    if (kind_of(then) is Kind.BOOL) != (kind_of(otherwise) is Kind.BOOL):
        ctx.error(
            "AL201",
            node.otherwise.span,
            f"this is {kind_of(otherwise)}",
            what="the value after `else`",
            expected=kind_of(then),
            found=kind_of(otherwise),
        )
        return None
    if kind_of(then) is Kind.BOOL and not within_budget(condition, node.condition.span, ctx):
        return None  # it is written twice: `c and a or not c and b`
    then, otherwise = _same_kind(then, otherwise)
    return e.Select(condition, then, otherwise, span=node.span)
