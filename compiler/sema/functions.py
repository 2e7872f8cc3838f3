"""Checking a function by itself, so that mistakes show before anyone calls it."""

from __future__ import annotations

from collections.abc import Mapping

from attnlang.compiler.diagnostics.model import Label
from attnlang.compiler.diagnostics.report import Report
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.sema.expressions import expression
from attnlang.compiler.sema.scope import RESERVED, AxisName, Binding, ChoiceName, Context, ValueName
from attnlang.compiler.sema.types import function_type
from attnlang.compiler.syntax import tree as t


def check_function(
    function: t.Function, functions: Mapping[str, t.Function], report: Report
) -> None:
    """Read a function's body once with unknown arguments of the declared types."""
    ctx = Context(report, functions)
    names: dict[str, Binding] = {}
    axes: list[str] = []
    for parameter in function.parameters:
        name = parameter.name
        if name.id in RESERVED:
            ctx.error("AL108", name.span, "choose another name", name=name.id)
        if name.id in names:
            ctx.error("AL102", name.span, "defined again", name=name.id)
        wanted = function_type(parameter, ctx)
        if wanted == "axis":
            axes.append(name.id)
            names[name.id] = AxisName(name.id)
        elif isinstance(wanted, tuple):
            names[name.id] = ChoiceName(wanted[0], wanted)
        elif isinstance(wanted, Kind):
            names[name.id] = ValueName(e.Param(name.id, wanted, span=name.span))
        else:
            names[name.id] = ValueName(None)
    ctx = Context(report, functions, names, tuple(axes), tuple(axes))
    for let in function.lets:
        if let.name.id in ctx.names or let.name.id in RESERVED:
            code = "AL108" if let.name.id in RESERVED else "AL102"
            ctx.error(code, let.name.span, "choose another name", name=let.name.id)
        ctx = ctx.with_names(**{let.name.id: ValueName(expression(let.value, ctx))})
    value = expression(function.value, ctx)
    if value is None or function.returns is None:
        return
    declared = function.returns.names[0].id
    if declared not in ("int", "float", "bool"):
        ctx.error(
            "AL204",
            function.returns.span,
            name=function.returns.span.text,
            help="int, float or bool",
        )
    elif kind_of(value) is not Kind(declared) and not (
        declared == "float" and kind_of(value) is Kind.INT
    ):
        ctx.error(
            "AL201",
            function.value.span,
            f"this is {kind_of(value)}",
            what=f"the value of `{function.name.id}`",
            expected=declared,
            found=kind_of(value),
            secondary=(Label(function.returns.span, "declared here"),),
        )
