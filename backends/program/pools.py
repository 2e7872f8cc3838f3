"""Pools: the tokens of a run as one vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.program import Pool, Reduction
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.program import BoundProgram, Runs


def pooled(x: torch.Tensor, step: Pool, source: Space, bound: BoundProgram) -> torch.Tensor:
    """``[B, H, tokens of source, D]`` -> ``[B, H, tokens of step.space, D]``.

    An axis of the source that the pool does not keep, and none of its parts cut, is reduced whole.
    Along an axis of its own that the source does not have the same vector stands everywhere.
    """
    grid = next(e for e in bound.extents(source) if e.segment.is_grid)
    x = grid_tokens(x, step, source, bound)
    parts = {p.name: p for p in bound.program.parts}
    cut = {parts[a].axis: a for a in step.space.axes if a in parts}
    if "index" in cut:
        runs = bound.runs[source.side, cut["index"]]
        return _reduce(x, 2, runs, step)
    x = x.unflatten(2, grid.lengths)
    order: list[str] = []
    for i, axis in enumerate(grid.axes):
        if axis in cut:
            x = _reduce(x, 2 + i, bound.runs[source.side, cut[axis]], step)
            order.append(cut[axis])
        elif axis in step.space.axes:
            order.append(axis)
        else:
            n = grid.lengths[i]
            x = _reduce(x, 2 + i, Runs(n, n, n, 1), step)
            order.append("")
    for own in (a for a in step.space.axes if a in parts and parts[a].own and a not in order):
        count = bound.length(source.side, own)
        x = x.unsqueeze(-2).expand(*x.shape[:-1], count, x.shape[-1])
        order.append(own)
    kept = [order.index(a) for a in step.space.axes]
    gone = [i for i, a in enumerate(order) if not a]
    last = x.dim() - 1
    x = x.permute(0, 1, *(2 + i for i in kept), *(2 + i for i in gone), last)
    return x.flatten(2, last - 1)


def grid_tokens(x: torch.Tensor, step: Pool, source: Space, bound: BoundProgram) -> torch.Tensor:
    """The tokens that a pool is of: those on the axes, all of them. Raises ArgumentError."""
    grid = next(e for e in bound.extents(source) if e.segment.is_grid)
    if grid.origin[0] and source.side is Side.Q:
        raise ArgumentError(f"`{step.name}` pools queries: it needs all of them, not q_offset")
    return x[:, :, grid.start : grid.stop]


def _reduce(x: torch.Tensor, dim: int, runs: Runs, step: Pool) -> torch.Tensor:
    """One dimension cut into runs, each reduced."""
    first = torch.arange(runs.count, device=x.device) * runs.stride
    stop = (first + runs.size).clamp(max=runs.length)
    match step.reduction:
        case Reduction.FIRST:
            return x.index_select(dim, first)
        case Reduction.LAST:
            return x.index_select(dim, stop - 1)
        case Reduction.MAX | Reduction.MIN:
            high = step.reduction is Reduction.MAX
            windows = _windows(x, dim, runs, -torch.inf if high else torch.inf)
            return windows.amax(-1) if high else windows.amin(-1)
        case Reduction.SUM | Reduction.MEAN:
            total = _windows(x, dim, runs, 0.0).sum(-1)
            if step.reduction is Reduction.SUM:
                return total
            count = (stop - first) if step.divide == "tokens" else torch.full_like(stop, runs.size)
            shape = [1] * x.dim()
            shape[dim] = runs.count
            return total / count.view(shape).to(total.dtype)
        case Reduction.TAKE | Reduction.PUT:
            raise AssertionError("members of sets are moved, not pooled")


def _windows(x: torch.Tensor, dim: int, runs: Runs, fill: float) -> torch.Tensor:
    """The runs as a last dimension; a short one is filled up."""
    need = max((runs.count - 1) * runs.stride + runs.size, 0) if runs.count else 0
    missing = max(need - runs.length, 0)
    if missing:
        pad = [0, 0] * (x.dim() - 1 - dim) + [0, missing]
        x = F.pad(x, pad, value=fill)
    if runs.count == 0:
        shape = list(x.shape)
        shape[dim] = 0
        return x.new_zeros((*shape, 1))
    return x.narrow(dim, 0, need).unfold(dim, runs.size, runs.stride)
