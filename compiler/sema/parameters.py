"""Parameters: their declarations, their defaults, and the values a caller gives."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.ir.pattern import ParameterDecl, ParameterValue, Per, Scalar
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.sema.choices import choice
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.scope import RESERVED, Context
from attnlang.compiler.sema.types import choices_of, scalar_kind
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.limits import MAX_INTEGER


def declare(parameter: t.Parameter, axes: tuple[str, ...], ctx: Context) -> ParameterDecl | None:
    """The declaration of one pattern parameter, its default evaluated."""
    name, written = parameter.name, parameter.type
    if name.id in RESERVED:
        ctx.error("AL108", name.span, "choose another name", name=name.id)
        return None
    choices: tuple[str, ...] = ()
    kind: Kind | None = None
    per = Per.ONE
    if len(written.names) > 1:
        found = choices_of(written, ctx)
        if found is None:
            return None
        choices = found
    else:
        kind = scalar_kind(written, ctx)
        if kind is None:
            return None
        if written.dims:
            dim = written.dims[0]
            word = dim.id if isinstance(dim, t.Name) else ""
            if len(written.dims) > 1 or word not in ("axis", "head"):
                ctx.error(
                    "AL204",
                    written.span,
                    name=written.span.text,
                    help="one value `int`, one per axis `int[axis]` or one per head `int[head]`",
                )
                return None
            per = Per(word)
    declared = ParameterDecl(name.id, kind, per, choices, None, span=parameter.span)
    if parameter.default is None:
        return declared
    value = _default(parameter.default, declared, ctx)
    if value is None:
        return None
    fitted = fit(value, declared, axes, parameter.default.span, ctx)
    if fitted is None:
        return None
    return ParameterDecl(name.id, kind, per, choices, fitted, span=parameter.span)


def _default(node: t.Expression, declared: ParameterDecl, ctx: Context) -> ParameterValue | None:
    if declared.kind is None:
        return choice(node, declared.choices, ctx)
    if isinstance(node, t.Tuple):
        values = [_default(item, declared, ctx) for item in node.items]
        return (
            tuple(v for v in values if isinstance(v, int | float)) if None not in values else None
        )
    value = typed(node, ctx, (declared.kind,), f"the default of `{declared.name}`")
    if value is None:
        return None
    known = value_of(value)
    if known is None:
        ctx.error("AL207", node.span, clause="a default", word="something unknown here")
    return known


def bind(
    declared: tuple[ParameterDecl, ...],
    given: Mapping[str, object],
    axes: tuple[str, ...],
    pattern: str,
    ctx: Context,
) -> tuple[tuple[str, ParameterValue], ...]:
    """The value of every parameter that has one, given or by default, in declaration order."""
    by_name = {d.name: d for d in declared}
    for name in given:
        if name not in by_name:
            ctx.error(
                "AL401", None, pattern=pattern, name=name, help=did_you_mean(str(name), by_name)
            )
    values: list[tuple[str, ParameterValue]] = []
    for d in declared:
        value = fit(given[d.name], d, axes, d.span, ctx) if d.name in given else d.default
        if value is not None:
            values.append((d.name, value))
    return tuple(values)


def fit(
    value: object, d: ParameterDecl, axes: tuple[str, ...], span: Span, ctx: Context
) -> ParameterValue | None:
    """A value in the form its parameter needs, or None with AL403 reported."""

    def wrong(why: str | None) -> None:
        ctx.error("AL403", span, name=d.name, type=d.type_name, value=_shown(value), help=why)

    if d.kind is None:
        if isinstance(value, str) and value in d.choices:
            return value
        wrong(
            did_you_mean(value, d.choices)
            if isinstance(value, str)
            else "give one of the choices as text"
        )
        return None
    if d.per is Per.ONE:
        one = scalar(value, d.kind)
        if one is None:
            wrong(f"it takes one {d.kind}")
        return one
    items: list[object]
    if isinstance(value, Mapping) and d.per is Per.AXIS:
        if set(value) != set(axes):
            wrong("one value for each axis: " + ", ".join(axes))
            return None
        items = [value[a] for a in axes]
    elif hasattr(value, "tolist"):
        listed = value.tolist()
        items = listed if isinstance(listed, list) else [listed]
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        items = [value] * (len(axes) if d.per is Per.AXIS else 1)
    if d.per is Per.AXIS and len(items) == 1:
        items = items * len(axes)
    fitted = [scalar(item, d.kind) for item in items]
    if None in fitted or not fitted or (d.per is Per.AXIS and len(fitted) != len(axes)):
        each = (
            f"one {d.kind} for each axis ({', '.join(axes)})"
            if d.per is Per.AXIS
            else f"one {d.kind} for each head"
        )
        wrong(f"it takes {each}, or one for all")
        return None
    return tuple(f for f in fitted if f is not None)


def scalar(value: object, kind: Kind) -> Scalar | None:
    """A Python or array scalar as a plain number of ``kind``; None if it is not one."""
    if hasattr(value, "item") and not isinstance(value, list | tuple):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            return None
    if kind is Kind.BOOL:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is Kind.INT:
        whole = int(value) if isinstance(value, int) or value.is_integer() else None
        return whole if whole is not None and abs(whole) <= MAX_INTEGER else None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
