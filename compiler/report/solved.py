"""Rows in closed form: each clause gives every query an interval of keys on each axis.

A clause whose literals solve to ``a(q) <= k.x < b(q)`` and ``k.x mod m = r(q)`` has as many keys
as the product over the axes of the members of those progressions. A union of clauses is counted
by inclusion and exclusion: what two clauses have in common is again such a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.analysis.normal import Clause, clauses
from attnlang.compiler.analysis.solve import Congruent, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.analysis.sorted_keys import SortedEdge, sorted_edges
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.dense import coordinate
from attnlang.compiler.report.progressions import Progression
from attnlang.compiler.report.rows import Rows

IntArray = NDArray[np.int64]
MAX_CLAUSES = 6
"""Inclusion and exclusion looks at every set of clauses that have keys in common."""


@dataclass(frozen=True, eq=False)
class _Box:
    """Keys of each query: a progression on every axis, where ``alive``."""

    axes: tuple[Progression, ...]
    alive: NDArray[np.bool_] | None

    def meet(self, other: _Box) -> _Box:
        alive = _both(self.alive, other.alive)
        pairs = zip(self.axes, other.axes, strict=True)
        return _Box(tuple(a.meet(b) for a, b in pairs), alive)

    def count(self, queries: int) -> IntArray:
        total: IntArray = np.ones(queries, dtype=np.int64)
        for axis in self.axes:
            total = total * axis.count()
        return total if self.alive is None else np.where(self.alive, total, 0)


def solved_rows(predicate: Expr, q: Extent, k: Extent, known: Known) -> Rows | None:
    """The rows of a segment of queries over a segment of keys; None when a literal resists.

    Literals that read unknown tensors are taken for true: the rows are then not exact.
    """
    found = clauses(predicate, MAX_CLAUSES)
    if found is None:
        return None
    kept = [tuple(x for x in clause if known.covers(x)) for clause in found]
    exact = all(len(a) == len(b) for a, b in zip(kept, found, strict=True))
    boxes = []
    for clause in dict.fromkeys(kept):
        box = _box(clause, q, k, known)
        if box is None:
            return None
        boxes.append(box)
    counts = [box.count(q.size) for box in boxes]
    keys = np.zeros(q.size, dtype=np.int64)
    for sign, count in _terms(boxes, counts):
        keys += sign * count
    first, last = _ends(boxes, counts, q, k)
    return Rows(keys, first, last, exact)


def _terms(boxes: Sequence[_Box], counts: Sequence[IntArray]) -> Iterator[tuple[int, IntArray]]:
    """Signed counts of every set of boxes that have keys in common."""
    stack = [(i, 1, box, counts[i]) for i, box in enumerate(boxes)]
    while stack:
        i, sign, box, count = stack.pop()
        if not count.any():
            continue
        yield sign, count
        for j in range(i + 1, len(boxes)):
            both = box.meet(boxes[j])
            stack.append((j, -sign, both, both.count(len(count))))


def _ends(
    boxes: Sequence[_Box], counts: Sequence[IntArray], q: Extent, k: Extent
) -> tuple[IntArray, IntArray]:
    """The places of the first and last key of every query."""
    first = np.full(q.size, k.stop, dtype=np.int64)
    last = np.full(q.size, -1, dtype=np.int64)
    for box, count in zip(boxes, counts, strict=True):
        some = count > 0
        low: IntArray = np.full(q.size, k.start, dtype=np.int64)
        high = low
        stride = 1
        for i in reversed(range(len(k.axes))):
            low = low + stride * (box.axes[i].first() - k.origin[i])
            high = high + stride * (box.axes[i].last() - k.origin[i])
            stride *= k.lengths[i]
        first = np.where(some, np.minimum(first, low), first)
        last = np.where(some, np.maximum(last, high), last)
    return first, last


def _box(clause: Clause, q: Extent, k: Extent, known: Known) -> _Box | None:
    places = np.arange(q.size, dtype=np.int64)
    axes = {
        a: Progression(np.int64(o), np.int64(o + n))
        for a, o, n in zip(k.axes, k.origin, k.lengths, strict=True)
    }
    alive: NDArray[np.bool_] | None = None

    def at(x: Expr) -> Any:
        return _at(x, q, places, known)

    for literal in clause:
        edges = _sorted(literal, q, k, known)
        if edges is not None:
            axis = k.axes[0]
            for low in edges[0]:
                axes[axis] = axes[axis].from_(low.at(places))
            for high in edges[1]:
                axes[axis] = axes[axis].until(high.at(places))
            continue
        for fact in solve(literal):
            match fact:
                case Lower(axis=axis, bound=bound):
                    axes[axis] = axes[axis].from_(at(bound))
                case Upper(axis=axis, bound=bound):
                    axes[axis] = axes[axis].until(at(bound))
                case Congruent(axis=axis, modulus=modulus, residue=residue):
                    value = at(residue)
                    alive = _both(alive, (value >= 0) & (value < modulus))
                    lattice = replace(axes[axis], modulus=modulus, residue=value)
                    axes[axis] = axes[axis].meet(lattice)
                case RowOnly(condition=condition):
                    alive = _both(alive, np.asarray(at(condition)).astype(bool))
                case Opaque():
                    return None
    return _Box(tuple(axes[a] for a in k.axes), alive)


def _both(a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if a is None or b is None:
        return b if a is None else a
    return np.asarray(a & b)


def _sorted(
    literal: Expr, q: Extent, k: Extent, known: Known
) -> tuple[list[SortedEdge], list[SortedEdge]] | None:
    if len(q.axes) != 1 or len(k.axes) != 1:
        return None
    return sorted_edges(literal, ExtentTiling(q, ()), ExtentTiling(k, ()), known)


def _at(x: Expr, q: Extent, places: IntArray, known: Known) -> Any:
    """The value of an expression over the query alone, for the queries at these places."""

    def leaf(node: Expr) -> Any:
        match node:
            case e.Coord(axis=axis):
                return coordinate(q, axis, places)
            case e.Index():
                return places + q.start
            case e.TokenInput(name=name, side=side):
                return known.tokens[name, side][places]
            case e.Table(name=name):
                return read_table(known.tables[name], [evaluate(i, leaf) for i in node.indices])
            case _:
                raise AssertionError(f"{node} has no value here")

    return evaluate(x, leaf)
