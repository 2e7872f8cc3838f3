"""Pools: the tokens of a run as one vector."""

from __future__ import annotations

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.program.reduce import Cut, pool
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.program import Pool
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import grid_of
from attnlang.compiler.problem.program import BoundProgram


def pooled(x: torch.Tensor, step: Pool, source: Space, bound: BoundProgram) -> torch.Tensor:
    """``[B, H, tokens of source, D]`` -> ``[B, H, tokens of step.space, D]``.

    An axis of the source that the pool does not keep, and none of its parts cut, is reduced whole.
    Along an axis of its own that the source does not have the same vector stands everywhere.
    """
    grid = grid_of(bound.extents(source))
    x = grid_tokens(x, step, source, bound)
    parts = {p.name: p for p in bound.program.parts}
    how, by_size = str(step.reduction), step.divide == "size"
    cut = {parts[a].axis: a for a in step.space.axes if a in parts}
    if "index" in cut:
        runs = bound.runs[source.side, cut["index"]]
        whole = (runs.size, runs.stride, runs.count)
        return pool(x, (runs.length,), (whole,), (), (0,), how, by_size=by_size)
    order: list[str] = []
    cuts: list[Cut | None] = []
    for axis, n in zip(grid.axes, grid.lengths, strict=True):
        made = None
        if axis in cut:
            runs = bound.runs[source.side, cut[axis]]
            made = (runs.size, runs.stride, runs.count)
        elif axis not in step.space.axes:
            made = (n, n, 1)
        cuts.append(made)
        order.append(cut.get(axis, axis if made is None else ""))
    own = [a for a in step.space.axes if a in parts and parts[a].own and a not in order]
    order += own
    kept = [order.index(a) for a in step.space.axes]
    counts = [bound.length(source.side, a) for a in own]
    return pool(x, grid.lengths, cuts, counts, kept, how, by_size=by_size)


def grid_tokens(x: torch.Tensor, step: Pool, source: Space, bound: BoundProgram) -> torch.Tensor:
    """The tokens that a pool is of: those on the axes, all of them. Raises ArgumentError."""
    grid = grid_of(bound.extents(source))
    if grid.origin[0] and source.side is Side.Q:
        raise ArgumentError(f"`{step.name}` pools queries: it needs all of them, not q_offset")
    return x[:, :, grid.start : grid.stop]
