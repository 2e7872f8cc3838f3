"""Grids whose pairs are told by places in the sequence alone are planned as one axis.

Blocks of 128 tokens of a video cut through its frames: tiles of frames and sites would each hold
parts of many blocks, runs of the sequence are whole ones.
"""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.problem import Extent, Problem

AXIS = "index"
"""What an expression calls a place in the sequence."""


def flat(problem: Problem) -> Problem:
    """One axis for grids of several, on sides of which no `where` reads an axis."""
    return replace(
        problem,
        q=tuple(_flat(x, problem, Side.Q) for x in problem.q),
        k=tuple(_flat(x, problem, Side.K) for x in problem.k),
    )


def _flat(extent: Extent, problem: Problem, side: Side) -> Extent:
    if len(extent.axes) == 1:
        return extent
    wheres = [group.attend.where for group in problem.groups]
    read = {x.axis for w in wheres for x in walk(w) if isinstance(x, e.Coord) and x.side is side}
    placed = any(isinstance(x, e.Index) and x.side is side for w in wheres for x in walk(w))
    if not placed or read & set(extent.axes):
        return extent
    return replace(extent, axes=(AXIS,), lengths=(extent.size,), origin=(0,))
