"""Windows and blocks as long as what they act on: they hide what a pattern does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attnlang.compiler.ir.expr import Kind, Param
from attnlang.compiler.ir.pattern import ParameterDecl, ParameterValue, PatternIR, Per
from attnlang.compiler.ir.program import Select, SizeOf
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


def shortened(
    ir: PatternIR, given: Mapping[str, object], sizes: Mapping[str, int]
) -> dict[str, int | tuple[int, ...]]:
    """Values for the parameters that would hide what a pattern does at these lengths.

    Sizes of a program's parts are divided by one power of two, so that they stay multiples of
    each other; there are then some eight parts of a long axis to see.
    """
    values = {p.name: v for p, v in too_long(ir, given, sizes)}
    found = {p.name: shorter(p, ir, sizes) for p in ir.parameters if p.name in values}
    parts = {n: x for n, x in _parts(ir, sizes).items() if n not in given}
    divisor = 1
    while any(v > _few(length) * divisor for v, length in parts.values()):
        divisor *= 2
    if divisor > 1:
        divisor *= 2 if max(length for _, length in parts.values()) >= _LONG else 1
        parts = {n: (max(v // divisor, 1), length) for n, (v, length) in parts.items()}
        found |= {n: v for n, (v, _) in parts.items()}
    most = min((length // v for v, length in parts.values()), default=max(_lengths(ir, sizes)))
    for name, count in _counts(ir).items():
        if name not in given and name not in parts and 2 * count > most > 1:
            found[name] = max(most // 4, 1)
    return found


_LONG = 32
"""Tokens from which an axis is cut into many parts."""


def _few(length: int) -> int:
    """The longest part of which an axis has enough to see."""
    return max(length // (4 if length >= _LONG else 2), 1)


def _parts(ir: PatternIR, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Parameters that are the size or stride of a part, and the length of the axis it cuts."""
    values = dict(ir.values)
    limits = dict(zip(ir.q_axes, _lengths(ir, sizes), strict=True))
    lengths = {**limits, **{a: n for a, n in sizes.items() if a in ir.k_axes}}
    found: dict[str, tuple[int, int]] = {}
    for part in () if ir.program is None else ir.program.parts:
        line = math.prod(limits.values())
        length = line if part.axis is None else lengths.get(part.axis, line)
        for x in (part.size, part.stride):
            value = values.get(x.name) if isinstance(x, Param) else None
            if isinstance(x, Param) and isinstance(value, int):
                found[x.name] = value, length
                lengths[part.name] = max(length // value, 1)
    return found


def _counts(ir: PatternIR) -> dict[str, int]:
    """Parameters that say how many are chosen, or which are for sure."""
    selects = [s for s in (ir.program.steps if ir.program else ()) if isinstance(s, Select)]
    roots = [
        s.rule.amount
        for s in selects
        if s.rule.kind == "top" and not isinstance(s.rule.amount, SizeOf)
    ]
    roots += [g.attend.where for s in selects if s.force for g in s.force.groups]
    read = {getattr(x, "name", None) for root in roots for x in walk(root)}
    return {n: v for n, v in ir.values if n in read and type(v) is int}


def _lengths(ir: PatternIR, sizes: Mapping[str, int]) -> list[int]:
    """Of the axes of the queries."""
    return [sizes.get(a, sizes.get(f"q.{a}", 1)) for a in ir.q_axes]


def _is_length(p: ParameterDecl, ir: PatternIR) -> bool:
    """Does the condition itself read the parameter? (Others have nothing to do with lengths.)"""
    steps = [ir] if ir.program is None else [s for _, s in ir.program.patterns]
    conditions = [g.attend.where for s in steps for g in s.groups]
    return any(getattr(x, "name", None) == p.name for root in conditions for x in walk(root))


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
