"""A linear attention of a program as Python text."""

from __future__ import annotations

from dataclasses import replace

import torch

from attnlang.backends.ahead.attentions import joined_heads
from attnlang.backends.ahead.numbers import Written
from attnlang.backends.ahead.scope import Scope, local
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.linear.polynomial import feature_count
from attnlang.backends.linear.triton.ahead import Class
from attnlang.backends.program.linear import polynomial_of
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.pattern import Normaliser
from attnlang.compiler.ir.program import Recurrence
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import CHANNEL

PLAIN = (0.0, 1.0, 0.0)


def write_linear(scope: Scope, shapes: Shapes, step: Recurrence, name: str) -> None:
    bound = scope.bound
    start, stop = bound.heads_of(step)
    attend = step.pattern.groups[0].attend
    space = bound.spaces[step.key]
    own = local(name)
    for part, x in (("q", step.query), ("k", step.key), ("v", step.value)):
        there = joined_heads(bound, shapes, (x,), start, stop)
        wanted = stop - start if part == "q" else there
        scope.write(f"{own}_{part} = {scope.joined((x,), start, stop, there, wanted)}")
    scale = None if attend.scale is None else scope.closed(attend.scale)
    varying = scale is not None and value_of(bound.close(scale)) is None
    clauses = {
        n: None if x is None else scope.closed(x)
        for n, x in (("decay", step.decay), ("delta", step.delta), ("logit", step.logit))
    }
    read = [*clauses.values(), *([scale] if varying else [])]
    written = scope.numbers(name, read, space, heads=(start, stop))
    options, operands = [], f"{own}_q, {own}_k, {own}_v"
    for clause, said in clauses.items():
        if said is not None:
            text = _number(written, said, f"t.channel({own}_k.shape[3], device)")
            options.append(f"{clause}=t.four({text}, device)")
    if varying:
        assert scale is not None
        factor = f"t.scalar({written(scale)}, device).to(dtype)"
        scope.write(f"{own}_q = {own}_q * {factor}")
        options.append("scale=1.0")
    elif scale is not None:
        options.append(f"scale={float(value_of(bound.close(scale)) or 0.0)!r}")
    else:
        options.append(f"scale={own}_q.shape[3] ** -0.5 if scale is None else scale")
    weights = polynomial_of(bound, attend) if step.logit is None else PLAIN
    if weights != PLAIN:
        options.append(f"weights={weights!r}")
    if attend.normaliser is Normaliser.SUM:
        options.append('normalise="sum"')
    if step.segments is not None:
        options.append(f"documents=in_{space.side}_{step.segments}")
    options.append(f"causal={step.causal}")
    name_of = "attend"
    if step.logit is not None:
        name_of = "attend_prefix"
        kept = [x for x in options if x.startswith(("logit=", "documents="))]
        options, operands = kept, f"{own}_q, {own}_v"
    scope.write(f"{own}, last = linear.{name_of}(")
    scope.write(f"    {operands}, {', '.join(options)},")
    scope.write(f"    state=state.get({name!r}), choices=launch.choices_of({name!r}, q),")
    scope.write(")  # fmt: skip")
    if step.causal:
        scope.write(f"left[{name!r}] = last")


def _number(written: Written, x: Expr, channels: str) -> str:
    return (replace(written, channels=channels) if by_channel(x) else written)(x)


def by_channel(x: Expr | None) -> bool:
    """Does a number vary with the feature?"""
    found = walk(x) if x is not None else ()
    return any(isinstance(n, e.Coord) and n.axis == CHANNEL for n in found)


def class_of(scope: Scope, shapes: Shapes, step: Recurrence, dtype: torch.dtype) -> Class | None:
    """Which kernels run it; None where one product of matrices is all there is to do."""
    attend = step.pattern.groups[0].attend
    if not step.causal and step.decay is None and step.segments is None and step.delta is None:
        return None
    if step.logit is not None:  # keys of one channel, and sums beside the values
        return Class(1, shapes.tensors[step.value].width + 1, torch.float32, False, False)
    width, values = shapes.tensors[step.key].width, shapes.tensors[step.value].width
    if polynomial_of(scope.bound, attend) != PLAIN:
        width, dtype = feature_count(width), torch.float32
    values += attend.normaliser is Normaliser.SUM
    decay = None if step.decay is None else scope.closed(step.decay)
    return Class(width, values, dtype, by_channel(decay), step.delta is not None)
