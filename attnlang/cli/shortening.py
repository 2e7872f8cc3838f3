"""Windows and blocks as long as what they act on: they hide what a pattern does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attnlang.compiler.ir.expr import Kind
from attnlang.compiler.ir.pattern import ParameterDecl, ParameterValue, PatternIR, Per
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.report.words import parameter

Long: TypeAlias = tuple[ParameterDecl, ParameterValue]
"""A parameter, and the value it has by default."""


def too_long(ir: PatternIR, given: Mapping[str, object], sizes: Mapping[str, int]) -> list[Long]:
    """Whole-number parameters at their defaults that are as long as the axis they are for."""
    values = dict(ir.values)
    found: list[Long] = []
    for p in ir.parameters:
        value = values.get(p.name)
        if p.name in given or p.kind is not Kind.INT or value is None:
            continue
        limits = _lengths(ir, sizes)
        if p.per is Per.AXIS and isinstance(value, tuple):
            over = any(v >= n > 1 for v, n in zip(value, limits, strict=True))
        else:
            over = isinstance(value, int) and value >= max(limits)
        if over and _is_length(p, ir):
            found.append((p, value))
    return found


def _lengths(ir: PatternIR, sizes: Mapping[str, int]) -> list[int]:
    """Of the axes of the queries."""
    return [sizes.get(a, sizes.get(f"q.{a}", 1)) for a in ir.q_axes]


def _is_length(p: ParameterDecl, ir: PatternIR) -> bool:
    """Does the condition itself read the parameter? (Others have nothing to do with lengths.)"""
    return any(getattr(x, "name", None) == p.name for g in ir.groups for x in walk(g.attend.where))


def shorter(p: ParameterDecl, ir: PatternIR, sizes: Mapping[str, int]) -> int | tuple[int, ...]:
    """A value that leaves something to see at these lengths."""
    lengths = _lengths(ir, sizes)
    if p.per is Per.AXIS:
        each = tuple(_part(n) for n in lengths)
        return each[0] if len(set(each)) == 1 else each
    return _part(max(lengths))


def _part(length: int) -> int:
    """A quarter of a long axis, an odd third of a short one: windows with a middle."""
    if length >= 32:
        return length // 4
    return (length // (3 if length > 8 else 2)) | 1


def unseen(long: Sequence[Long]) -> tuple[str, ...]:
    """A note for each."""
    return tuple(
        f"{p.name}={plain(v)} is as long as the axis or longer: try a smaller --set {p.name}="
        for p, v in long
    )


def long_parameters(ir: PatternIR, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """A note for each parameter that is too long to show at these sizes."""
    return unseen(too_long(ir, {}, sizes))


def plain(value: ParameterValue) -> str:
    """One number for all axes that have the same."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return parameter(value)
