"""Calls: built-ins become nodes, functions of the language are put in place."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.builtins import BUILTINS, Builtin
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.sema.budget import within_budget
from attnlang.compiler.sema.choices import choice
from attnlang.compiler.sema.expressions import expression, typed
from attnlang.compiler.sema.products import product
from attnlang.compiler.sema.scope import AxisName, Binding, ChoiceName, Context, ValueName
from attnlang.compiler.sema.types import FunctionType, function_type
from attnlang.compiler.sema.weights import WEIGHT, weight
from attnlang.compiler.syntax import tree as t

MAX_CALLS = 24
"""Functions inside functions; more is a mistake, and recursion is one always."""


def call(node: t.Call, ctx: Context) -> Expr | None:
    """The value of a call, its function's body put in place."""
    name = node.function.id
    if name == "len":
        return _length(node, ctx)
    if name == "dot":
        return product(node, ctx)
    if name in BUILTINS:
        return _builtin(node, BUILTINS[name], ctx)
    function = ctx.functions.get(name)
    if function is None and name == WEIGHT:
        return weight(node, ctx)
    if function is None:
        known = [*ctx.functions, *BUILTINS, "len", "dot", WEIGHT]
        ctx.error(
            "AL103",
            node.function.span,
            "no such function",
            name=name,
            help=did_you_mean(name, known),
        )
        for argument in (*node.arguments, *(k.value for k in node.keywords)):
            if not _is_axis(argument, ctx):
                expression(argument, ctx)
        return None
    active = [called for called, _ in ctx.calls]
    if name in active:
        circle = " -> ".join((*active[active.index(name) :], name))
        notes = (f"the calls go round: {circle}",)
        ctx.error("AL105", node.span, "called again here", name=name, notes=notes)
        return None
    if len(active) >= MAX_CALLS:
        ctx.error("AL005", node.span, "functions inside functions", limit=MAX_CALLS)
        return None
    return _inline(node, function, ctx)


def _is_axis(node: t.Expression, ctx: Context) -> bool:
    return isinstance(node, t.Name) and isinstance(ctx.names.get(node.id), AxisName | ChoiceName)


def _length(node: t.Call, ctx: Context) -> Expr | None:
    if len(node.arguments) != 1 or node.keywords:
        ctx.error("AL104", node.span, name="len", reason="takes one axis: `len(n)`")
        return None
    argument = node.arguments[0]
    side: Side | None = None
    if (
        isinstance(argument, t.Attribute)
        and isinstance(argument.base, t.Name)
        and argument.base.id in ("q", "k")
    ):
        side, argument = Side(argument.base.id), argument.name
    if not isinstance(argument, t.Name) or argument.id in ("q", "k"):
        ctx.error("AL104", node.span, name="len", reason="takes one axis: `len(n)`")
        return None
    binding = ctx.names.get(argument.id)
    axis = binding.axis if isinstance(binding, AxisName) else None
    own = ctx.segments.get(argument.id, ())
    sides = [s for s in (Side.K, Side.Q) if axis in ctx.axes(s) or s in own]
    if side is not None:
        sides = [s for s in sides if s is side]
    if not sides:
        if ctx.axes_known:
            ctx.error(
                "AL101",
                argument.span,
                "no axis, prefix or suffix of that name",
                name=argument.id,
                help=did_you_mean(argument.id, [*ctx.axis_names(), *ctx.segments]),
            )
        return None
    return e.Length(sides[0], axis or argument.id, span=node.span)


def _builtin(node: t.Call, builtin: Builtin, ctx: Context) -> Expr | None:
    low, high = builtin.arity
    if node.keywords or not low <= len(node.arguments) <= high:
        count = str(low) if low == high else f"{low} to {high}"
        instead = "without names" if node.keywords else f"not {len(node.arguments)}"
        ctx.error(
            "AL104",
            node.span,
            name=builtin.name,
            reason=f"takes {count} argument{'s' if high > 1 else ''}, {instead}",
        )
        return None
    what = f"an argument of `{builtin.name}`"
    values = [typed(a, ctx, builtin.arguments, what) for a in node.arguments]
    if any(v is None for v in values):
        return None
    made = [v for v in values if v is not None]
    if builtin.result is None and any(kind_of(v) is Kind.FLOAT for v in made):
        made = [
            v if kind_of(v) is Kind.FLOAT else e.Apply("float", (v,), span=v.span) for v in made
        ]
    if builtin.name == "ceildiv" and made[1] == e.Int(0):
        ctx.error("AL208", node.arguments[1].span, "this is 0", op="ceildiv")
        return None
    return e.Apply(builtin.name, tuple(made), span=node.span)


def _inline(node: t.Call, function: t.Function, ctx: Context) -> Expr | None:
    given = _match_arguments(node, function, ctx)
    if given is None:
        return None
    names: dict[str, Binding] = {}
    complete = True
    for parameter in function.parameters:
        argument = given.get(parameter.name.id, parameter.default)
        wanted = function_type(
            parameter, replace(ctx, calls=(*ctx.calls, (function.name.id, node.span)))
        )
        # A default is read where it is written: among the function's own parameters.
        where = ctx if parameter.name.id in given else replace(ctx, names=names)
        binding = (
            None
            if wanted is None or argument is None
            else _argument(argument, wanted, parameter, where)
        )
        complete &= binding is not None
        names[parameter.name.id] = binding or ValueName(None)
    if not complete:
        return None
    functions = ctx.functions
    if isinstance(functions, ChainMap) and function is not functions.maps[0].get(function.name.id):
        functions = functions.parents  # the prelude's functions call each other, not the file's
    calls = (*ctx.calls, (function.name.id, node.span))
    inner = replace(
        ctx, names=names, functions=functions, segments={}, score=None, products=None, calls=calls
    )
    for let in function.lets:
        if let.name.id in inner.names:
            inner.error("AL102", let.name.span, "defined again", name=let.name.id)
        inner = inner.with_names(**{let.name.id: ValueName(expression(let.value, inner))})
    value = expression(function.value, inner)
    if value is None or not within_budget(value, node.span, ctx):
        return None
    if function.returns is not None:
        declared = function.returns.names[0].id
        if declared in ("int", "float", "bool") and kind_of(value) is not Kind(declared):
            if declared == "float" and kind_of(value) is Kind.INT:
                return e.Apply("float", (value,), span=node.span)
            inner.error(
                "AL201",
                function.value.span,
                f"this is {kind_of(value)}",
                what=f"the value of `{function.name.id}`",
                expected=declared,
                found=kind_of(value),
            )
            return None
    return replace(value, span=node.span)


def _match_arguments(
    node: t.Call, function: t.Function, ctx: Context
) -> dict[str, t.Expression] | None:
    """Arguments by parameter name, as Python does it."""
    names = [p.name.id for p in function.parameters]
    signature = f"{function.name.id}({', '.join(names)})"
    given: dict[str, t.Expression] = {}
    if len(node.arguments) > len(names):
        ctx.error(
            "AL104",
            node.arguments[len(names)].span,
            "one too many",
            name=function.name.id,
            reason=f"takes {len(names)} argument{'' if len(names) == 1 else 's'}",
            help=f"it is `{signature}`",
        )
        return None
    given.update(zip(names, node.arguments, strict=False))
    good = True
    for keyword in node.keywords:
        key = keyword.name.id
        if key not in names:
            ctx.error(
                "AL104",
                keyword.name.span,
                name=function.name.id,
                reason=f"has no parameter `{key}`",
                help=did_you_mean(key, names),
            )
            good = False
        elif key in given:
            ctx.error("AL104", keyword.span, name=function.name.id, reason=f"got `{key}` twice")
            good = False
        else:
            given[key] = keyword.value
    missing = [
        p.name.id for p in function.parameters if p.default is None and p.name.id not in given
    ]
    if missing and good:
        ctx.error(
            "AL104",
            node.span,
            name=function.name.id,
            reason="needs " + ", ".join(f"`{m}`" for m in missing),
            help=f"it is `{signature}`",
        )
        good = False
    return given if good else None


def _argument(
    node: t.Expression, wanted: FunctionType, parameter: t.Parameter, ctx: Context
) -> Binding | None:
    what = f"`{parameter.name.id}`"
    if wanted == "axis":
        binding = ctx.names.get(node.id) if isinstance(node, t.Name) else None
        if isinstance(binding, AxisName):
            return binding
        ctx.error(
            "AL201",
            node.span,
            "not an axis",
            what=what,
            expected="an axis",
            found=f"`{node.span.text}`",
            help=did_you_mean(node.span.text, ctx.axis_names()),
        )
        return None
    if isinstance(wanted, tuple):
        chosen = choice(node, wanted, ctx)
        return None if chosen is None else ChoiceName(chosen, wanted)
    value = typed(node, ctx, (wanted,), what)
    if value is None:
        return None
    known = value_of(value)
    if known is not None and isinstance(value, e.Apply):
        value = e.Float(float(known), span=value.span) if wanted is Kind.FLOAT else value
    return ValueName(value)
