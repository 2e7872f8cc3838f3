"""How large integers get in a problem's kernels, and so which walks can be worked out in them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable

from attnlang.backends.triton.closed import Interval, intervals
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.intervals import DivisorMayBeZero, Intervals, Range
from attnlang.compiler.ir.traverse import kind_of, walk
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.problem.bind import LARGEST, PYTHON, leaf_ranges
from attnlang.compiler.problem.problem import BoundGroup, Problem

_made: weakref.WeakKeyDictionary[Problem, dict[int, frozenset[Side]]] = weakref.WeakKeyDictionary()


def largest(problem: Problem, group: BoundGroup) -> float:
    """The largest magnitude of an integer that no input decides."""
    attend = group.attend
    own = (x for x in (attend.where, attend.score, attend.scale, attend.gain) if x is not None)
    return max(
        _magnitude(problem, x) for x in (*own, *_ends(problem, group, closed_sides(problem, group)))
    )


def closed_sides(problem: Problem, group: BoundGroup) -> frozenset[Side]:
    """Standing sides whose walks kernels work out without tables. The keys' alone is of no use."""
    by_group = _made.setdefault(problem, {})
    if group.index not in by_group:
        sides: list[Side] = []
        for side in Side:
            found = intervals_of(problem, group, side)
            if found is None or _too_large(problem, found):
                break
            sides.append(side)
        by_group[group.index] = frozenset(sides)
    return by_group[group.index]


def intervals_of(problem: Problem, group: BoundGroup, side: Side) -> tuple[Interval, ...] | None:
    """What the walks of a standing side are worked out from; None where tables are needed."""
    attend = closed_groups(problem.pattern)[group.index].attend
    return intervals(problem.pattern, attend.where, side)


def _ends(problem: Problem, group: BoundGroup, sides: Iterable[Side]) -> Iterable[Expr]:
    for side in sides:
        for one in intervals_of(problem, group, side) or ():
            yield from one.parts


def _too_large(problem: Problem, found: tuple[Interval, ...]) -> bool:
    return any(_magnitude(problem, x) > LARGEST for one in found for x in one.parts)


def _magnitude(problem: Problem, x: Expr) -> float:
    """The largest magnitude of an integer in an expression that no input decides."""
    found = 0.0

    def watch(n: Expr, within: Range) -> None:
        nonlocal found
        inputs = (e.TokenInput, e.Table)
        if kind_of(n) is Kind.INT and not any(isinstance(m, inputs) for m in walk(n)):
            found = max(found, abs(within[0]), abs(within[1]))

    try:
        _ranges(problem, watch).of(x)
    except DivisorMayBeZero:
        return math.inf
    return found


def _ranges(problem: Problem, watch: Callable[[Expr, Range], None] | None = None) -> Intervals:
    """What expressions can be at this size."""
    ranges = leaf_ranges(problem.pattern, problem.q, problem.k, problem.heads, problem.kv_heads)
    counts = {
        e.SymbolName.HEADS: problem.heads,
        e.SymbolName.KV_HEADS: problem.kv_heads,
        e.SymbolName.HEAD_DIM: problem.head_dim,
    }

    def leaf(n: Expr) -> Range:
        match n:
            case e.Length(side=side, axis=axis):
                length = _length(problem, side, axis)
                return length, length
            case e.Symbol(name=name) if name in counts:
                return counts[name], counts[name]
            case _:
                return ranges(n)

    return Intervals(PYTHON, leaf, watch)


def _length(problem: Problem, side: Side, axis: str) -> int:
    """Of one of the problem's axes, or of the program that it is a step of."""
    for extent in problem.extents(side):
        if axis in extent.axes:
            return extent.lengths[extent.axes.index(axis)]
    assert problem.outer is not None
    return problem.outer.length(side, axis)


def reach(problem: Problem, group: BoundGroup) -> int:
    """Keys that the queries attend at most: those of a walk that is worked out in the kernel, else
    all."""
    if Side.Q not in closed_sides(problem, group):
        return problem.k_len
    ranges, keys = _ranges(problem), 0
    for one in intervals_of(problem, group, Side.Q) or ():
        first = 0 if one.lower is None else max(0, ranges.of(one.lower)[0])
        last = problem.k_len if one.upper is None else ranges.of(one.upper)[1]
        keys += int(max(0, min(last, problem.k_len) - first))
    return min(keys, problem.k_len)
