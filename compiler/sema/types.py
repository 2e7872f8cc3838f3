"""Written types -> what parameters, inputs and function parameters hold."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.sema.scope import Context
from attnlang.compiler.syntax import tree as t

FunctionType: TypeAlias = Kind | Literal["axis"] | tuple[str, ...]
"""A scalar kind, an axis, or the choices of an enumeration."""

_SCALARS = ("int", "float", "bool")


def scalar_kind(written: t.TypeName, ctx: Context) -> Kind | None:
    """``int``, ``float`` or ``bool``; anything else is reported."""
    name = written.names[0]
    if len(written.names) == 1 and name.id in _SCALARS:
        return Kind(name.id)
    ctx.error("AL204", written.span, name=written.span.text, help=did_you_mean(name.id, _SCALARS))
    return None


def choices_of(written: t.TypeName, ctx: Context) -> tuple[str, ...] | None:
    """The choices of an enumeration type ``a | b``; duplicates are reported."""
    names = tuple(n.id for n in written.names)
    seen: set[str] = set()
    for name in written.names:
        if name.id in seen:
            ctx.error("AL102", name.span, "listed twice", name=name.id)
            return None
        seen.add(name.id)
    return names


def function_type(parameter: t.Parameter, ctx: Context) -> FunctionType | None:
    """The type of a function's parameter."""
    written = parameter.type
    if len(written.names) > 1:
        return choices_of(written, ctx)
    if written.dims:
        ctx.error(
            "AL204",
            written.span,
            name=written.span.text,
            help="functions take single values: pass `table[...]`",
        )
        return None
    if written.names[0].id == "axis":
        return "axis"
    known = (*_SCALARS, "axis")
    if written.names[0].id in _SCALARS:
        return Kind(written.names[0].id)
    ctx.error(
        "AL204", written.span, name=written.span.text, help=did_you_mean(written.names[0].id, known)
    )
    return None
