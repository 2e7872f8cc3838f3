"""Vectors of a set's members brought together, and put back where they were taken."""

from __future__ import annotations

import math

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.linear.form import repeated
from attnlang.compiler.ir.program import Pool, Reduction
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.program import BoundProgram


def moved(
    x: torch.Tensor, chosen: torch.Tensor, step: Pool, source: Space, bound: BoundProgram
) -> torch.Tensor:
    """``take``: the first members of every list, in order, ``[B, H, lists * slots, D]``; 0 where
    there are no more. ``put``: the sum of the slots at their tokens ``[B, H, tokens, D]``.

    chosen: the set ``[B, (heads,) tokens..., lists...]``.
    """
    take = step.reduction is Reduction.TAKE
    slots = bound.lengths(step.space if take else source)
    places = source if take else step.space
    grid = next(e for e in bound.extents(places) if e.segment.is_grid)
    if any(grid.origin):
        raise ArgumentError(f"`{step.name}` needs all tokens at once, not q_offset")
    lists, count = math.prod(slots[:-1]), slots[-1]
    by_head = chosen.dim() == 1 + 1 + len(places.axes) + len(slots) - 1
    chosen = chosen if by_head else chosen.unsqueeze(1)
    members = chosen.reshape(*chosen.shape[:2], grid.size, lists).mT
    order = torch.sort(members.to(torch.int8), dim=-1, descending=True, stable=True).indices
    index = order[..., :count]
    there = members.gather(-1, index)
    if index.shape[-1] < count:  # more slots than tokens
        missing = (0, count - index.shape[-1])
        index, there = (torch.nn.functional.pad(t, missing) for t in (index, there))
    heads = bound.frame.heads if by_head else x.shape[1]
    x = repeated(x, heads)
    index, there = (repeated(t.flatten(2), heads)[..., None] for t in (index, there))
    index = index.expand(len(x), heads, -1, x.shape[3])
    if take:
        here = x[:, :, grid.start : grid.stop]
        return torch.where(there, here.gather(2, index), 0.0)
    out = x.new_zeros(len(x), heads, bound.tokens(places), x.shape[3])
    return out.scatter_add(2, index + grid.start, torch.where(there, x, 0.0))
