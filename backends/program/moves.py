"""Vectors of a set's members brought together, and put back where they were taken."""

from __future__ import annotations

import math

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.linear.form import repeated
from attnlang.backends.program.reduce import put, slots, take
from attnlang.compiler.ir.program import Pool, Reduction
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import grid_of
from attnlang.compiler.problem.program import BoundProgram


def moved(
    x: torch.Tensor, chosen: torch.Tensor, step: Pool, source: Space, bound: BoundProgram
) -> torch.Tensor:
    """``take``: the first members of every list, in order, ``[B, H, lists * slots, D]``; 0 where
    there are no more. ``put``: the sum of the slots at their tokens ``[B, H, tokens, D]``.

    chosen: the set ``[B, (heads,) tokens..., lists...]``.
    """
    taking = step.reduction is Reduction.TAKE
    lengths = bound.lengths(step.space if taking else source)
    places = source if taking else step.space
    grid = grid_of(bound.extents(places))
    if any(grid.origin):
        raise ArgumentError(f"`{step.name}` needs all tokens at once, not q_offset")
    lists, count = math.prod(lengths[:-1]), lengths[-1]
    by_head = chosen.dim() == 1 + 1 + len(places.axes) + len(lengths) - 1
    chosen = chosen if by_head else chosen.unsqueeze(1)
    chosen = chosen.reshape(*chosen.shape[:2], grid.size, lists)
    heads = bound.frame.heads if by_head else x.shape[1]
    index, there = (repeated(t, heads) for t in slots(chosen, lists, count))
    x = repeated(x, heads)
    if taking:
        return take(x[:, :, grid.start : grid.stop], index, there)
    return put(x, index, there, bound.tokens(places), grid.start)
