"""Evaluating a predicate on lists of tokens, whatever segments and tiles they lie in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.problem.problem import Problem, grid_of

IntArray = NDArray[np.int64]


def on_tokens(
    root: Expr, problem: Problem, known: Known, q: IntArray, k: IntArray
) -> NDArray[np.bool_]:
    """The predicate on every pair of query tokens ``q [..., M]`` and key tokens ``k [..., N]``.

    Returns bool ``[..., M, N]``. Tokens are places in their sequence. Coordinates that a token
    does not have are given some value: the checker has proved that nothing looks at them.
    """

    def lay(side: Side, values: NDArray[Any]) -> NDArray[Any]:
        return values[..., :, None] if side is Side.Q else values[..., None, :]

    def leaf(x: Expr) -> Any:
        match x:
            case e.Coord(side=side, axis=axis):
                extent = next(t for t in problem.extents(side) if axis in t.axes)
                i = extent.axes.index(axis)
                inner = max(math.prod(extent.lengths[i + 1 :]), 1)
                flat = (q if side is Side.Q else k) - extent.start
                return lay(side, flat // inner % max(extent.lengths[i], 1) + extent.origin[i])
            case e.Index(side=side):
                return lay(side, q if side is Side.Q else k)
            case e.InSegment(side=side, segment=name):
                extent = next(t for t in problem.extents(side) if t.segment.name == name)
                tokens = q if side is Side.Q else k
                return lay(side, (tokens >= extent.start) & (tokens < extent.stop))
            case e.TokenInput(side=side, name=name):
                grid = grid_of(problem.extents(side))
                values = known.tokens[name, side]
                places = np.clip(
                    (q if side is Side.Q else k) - grid.start, 0, max(len(values) - 1, 0)
                )
                return lay(side, values[places])
            case e.Table(name=name):
                return read_table(known.tables[name], [evaluate(i, leaf) for i in x.indices])
            case _:
                raise AssertionError(f"{x} has no value here")

    shape = (*np.broadcast_shapes(q.shape[:-1], k.shape[:-1]), q.shape[-1], k.shape[-1])
    return np.broadcast_to(np.asarray(evaluate(root, leaf)).astype(bool), shape)
