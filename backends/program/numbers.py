"""Numbers beside tensors: expressions over a token, its head and its features."""

from __future__ import annotations

import torch

from attnlang.backends.call import Inputs
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.expr import GRID, Expr, Side
from attnlang.compiler.ir.pattern import Segment
from attnlang.compiler.ir.vector import CHANNEL, Space
from attnlang.compiler.problem.problem import Extent, Problem
from attnlang.compiler.problem.program import BoundProgram


def per_token(
    x: Expr,
    bound: BoundProgram,
    space: Space,
    inputs: Inputs,
    heads: slice,
    every: int,
    width: int,
    device: torch.device,
) -> torch.Tensor:
    """``[B or 1, H or 1, N or 1, K or 1]``, wide where ``x`` varies.

    In ``x`` the query is the token and the key the channel. space: where the tokens lie.
    heads: those of the result, of ``every``; ``x`` counts them from 0. width: of the channels.
    """
    frame, tokens = bound.frame, bound.extents(space)
    channels = (Extent(Segment(GRID, "grid"), (CHANNEL,), (width,), 0, (0,)),)
    problem = Problem(frame.pattern, every, frame.kv_heads, frame.head_dim, tokens, channels, ())
    here = {
        (name, Side.Q): t[:, heads] if t.shape[1] > 1 else t
        for (name, side), t in inputs.tokens.items()
        if side is space.side
    }
    pairs = Pairs(problem, Inputs(here, inputs.tables), device)
    pairs.head = pairs.head[:, : heads.stop - heads.start]
    found = pairs.value(bound.close(x))
    return found.reshape((1,) * (4 - found.dim()) + tuple(found.shape))
