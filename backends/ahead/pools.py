"""Pools of a program as Python text."""

from __future__ import annotations

from dataclasses import replace

from attnlang.backends.ahead.numbers import table_name
from attnlang.backends.ahead.scope import Scope, local
from attnlang.backends.ahead.shapes import Shapes
from attnlang.compiler.ir.program import Pool, Reduction, Select
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import grid_of


def write_pool(scope: Scope, shapes: Shapes, step: Pool) -> None:
    source, own = scope.bound.spaces[step.source], local(step.name)
    x = local(step.source)
    if step.chosen is not None:
        _moved(scope, shapes, step, source)
    elif step.where is not None:
        keys = replace(source, whole=False)
        where = closed_groups(step.where)[0].attend.where
        written = scope.numbers(
            step.name, [where], step.space, {step.source: keys}, pattern=step.where, heads=(0, 1)
        )
        tokens = f"{scope.tokens(step.space)}, {scope.tokens(keys)}"
        scope.write(f"belongs = t.mask({written(where)}, 1, {tokens}, device)[:, 0]")
        scope.write(f'{own} = t.regions({x}{on_axes(scope, source)}, belongs, "{step.reduction}")')
    else:
        x = f"{x}{on_axes(scope, source)}"
        by_size = ", by_size=True" if step.divide == "size" else ""
        scope.write(
            f'{own} = t.pool({x}, {_cuts(scope, step, source)}, "{step.reduction}"{by_size})'
        )


def on_axes(scope: Scope, space: Space) -> str:
    """The part of a tensor that lies on the axes."""
    extents = scope.bound.extents(space)
    if len(extents) == 1:
        return ""
    grid = grid_of(extents)
    return f"[:, :, {grid.start} : {grid.stop}]"


def _cuts(scope: Scope, step: Pool, source: Space) -> str:
    """What `pool` is given of the axes."""
    parts = {p.name: p for p in scope.bound.program.parts}
    cut = {parts[a].axis: a for a in step.space.axes if a in parts and not parts[a].own}

    def runs(part: str) -> str:
        written = scope.numbers(part, [])
        size, stride = (written(scope.closed(x)) for x in (parts[part].size, parts[part].stride))
        return f"({size}, {stride}, {scope.length(source.side, part)})"

    if "index" in cut:
        whole = " * ".join(scope.length(source.side, a) for a in source.axes)
        return f"({whole},), ({runs(cut['index'])},), (), (0,)"
    order, cuts = [], []
    for axis in source.axes:
        length = scope.length(source.side, axis)
        if axis in cut:
            cuts.append(runs(cut[axis]))
            order.append(cut[axis])
        elif axis in step.space.axes:
            cuts.append("None")
            order.append(axis)
        else:
            cuts.append(f"({length}, {length}, 1)")
            order.append("")
    own = [a for a in step.space.axes if a in parts and parts[a].own and a not in order]
    order += own
    kept = tuple(order.index(a) for a in step.space.axes)
    counts = "".join(f"{scope.length(source.side, a)}, " for a in own)
    return f"{scope.lengths(source)}, ({''.join(c + ', ' for c in cuts)}), ({counts}), {kept}"


def _moved(scope: Scope, shapes: Shapes, step: Pool, source: Space) -> None:
    """Members of a set taken to slots, or put back."""
    taking = step.reduction is Reduction.TAKE
    made = next(s for s in scope.bound.program.steps if s.name == step.chosen)
    assert isinstance(made, Select)
    space = step.space if taking else source
    *lists, count = (scope.length(space.side, a) for a in space.axes)
    own, x = local(step.name), local(step.source)
    chosen = table_name(made.name) + ("" if made.by_head else ".unsqueeze(1)")
    scope.write(f"index, there = t.slots({chosen}, {' * '.join(lists) or '1'}, {count})")
    heads = scope.bound.frame.heads if made.by_head else shapes.tensors[step.source].heads
    moving = f"t.repeated(index, {heads}), t.repeated(there, {heads})"
    x = f"t.repeated({x}, {heads})"
    if taking:
        scope.write(f"{own} = t.take({x}{on_axes(scope, source)}, {moving})")
        return
    grid = grid_of(scope.bound.extents(step.space))
    scope.write(f"{own} = t.put({x}, {moving}, {scope.tokens(step.space)}, {grid.start})")
