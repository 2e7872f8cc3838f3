"""Rows in closed form: each clause gives every query an interval of keys on each axis.

A clause whose literals solve to ``a(q) <= k.x < b(q)`` and ``k.x mod m = r(q)`` has as many keys
as the product over the axes of the members of those progressions. A union of clauses is counted
by inclusion and exclusion: what two clauses have in common is again such a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.key_intervals import SLICE
from attnlang.compiler.analysis.key_sets import KeySet, key_set
from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.analysis.normal import Clause, clauses, reads
from attnlang.compiler.analysis.solve import Congruent, Fact, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.analysis.sorted_keys import SortedEdge, sorted_edges
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.tiling import ExtentTiling, coordinate
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.progressions import Progression
from attnlang.compiler.report.rows import Rows

IntArray = NDArray[np.int64]
MAX_CLAUSES = 6
"""Inclusion and exclusion looks at every set of clauses that have keys in common."""

_Literals: TypeAlias = frozenset[Expr]


@dataclass(frozen=True, slots=True)
class _Solved:
    """A clause: what it says of the key by the query, edges of sorted inputs, and its literals
    over the key alone that are no bounds (on one axis)."""

    facts: tuple[Fact, ...]
    lowers: tuple[SortedEdge, ...]
    uppers: tuple[SortedEdge, ...]
    on_keys: _Literals


@dataclass(frozen=True, eq=False)
class _Box:
    """Keys of each query: a progression on every axis, where ``alive``; of one axis those for
    which literals over the key alone hold too."""

    axes: tuple[Progression, ...]
    alive: NDArray[np.bool_] | None
    on_keys: _Literals

    def meet(self, other: _Box) -> _Box:
        alive = _both(self.alive, other.alive)
        pairs = zip(self.axes, other.axes, strict=True)
        return _Box(tuple(a.meet(b) for a, b in pairs), alive, self.on_keys | other.on_keys)


class _Counter:
    """Counts and ends of the keys of boxes, over one segment of keys."""

    def __init__(self, k: Extent, known: Known) -> None:
        self.k, self.known = k, known
        self._sets: dict[_Literals, KeySet] = {}

    def count(self, box: _Box, queries: int) -> IntArray:
        if box.on_keys:
            (axis,), keys, origin = box.axes, self._set(box.on_keys), self.k.origin[0]
            inside = keys.below(axis.stop - origin) - keys.below(axis.start - origin)
            total = np.maximum(inside, 0)
        else:
            total = math.prod(axis.count() for axis in box.axes)
        alive = total if box.alive is None else np.where(box.alive, total, 0)
        return np.broadcast_to(alive, queries)

    def first(self, box: _Box) -> Any:
        """The place of the first key, where there is one: of every query, or one for all."""
        if box.on_keys:
            (axis,), origin = box.axes, self.k.origin[0]
            return self.k.start + self._set(box.on_keys).first(axis.start - origin)
        return self._place([axis.first() for axis in box.axes])

    def last(self, box: _Box) -> Any:
        """The place of the last key, where there is one."""
        if box.on_keys:
            (axis,), origin = box.axes, self.k.origin[0]
            return self.k.start + self._set(box.on_keys).last(axis.stop - origin)
        return self._place([axis.last() for axis in box.axes])

    def _place(self, coordinates: Sequence[Any]) -> Any:
        place: Any = 0
        for x, origin, length in zip(coordinates, self.k.origin, self.k.lengths, strict=True):
            place = place * length + (x - origin)
        return place + self.k.start

    def _set(self, literals: _Literals) -> KeySet:
        if literals not in self._sets:
            self._sets[literals] = key_set(tuple(literals), self.k, self.known)
        return self._sets[literals]


@dataclass(frozen=True, eq=False)
class Solved:
    """The keys of every query of a segment ``q`` among those of a segment ``k``: the union of what
    some clauses give. exact: False where what they read of unknown tensors was taken for true."""

    q: Extent
    k: Extent
    known: Known
    clauses: tuple[_Solved, ...]
    exact: bool

    def rows(self) -> Rows:
        keys, first, last = (np.empty(self.q.size, dtype=np.int64) for _ in range(3))
        counter = _Counter(self.k, self.known)
        for part, boxes, counts in self._slices(counter):
            keys[part] = sum(sign * count for sign, count in _terms(boxes, counts, counter))
            first[part], last[part] = self.k.stop, -1
            for box, count in zip(boxes, counts, strict=True):
                some = count > 0
                np.minimum(first[part], counter.first(box), out=first[part], where=some)
                np.maximum(last[part], counter.last(box), out=last[part], where=some)
        return Rows(keys, first, last, self.exact)

    def pairs(self) -> int:
        """How many there are in all, without the rows."""
        counter = _Counter(self.k, self.known)
        return sum(
            sign * int(count.sum())
            for _, boxes, counts in self._slices(counter)
            for sign, count in _terms(boxes, counts, counter)
        )

    def last(self) -> IntArray:
        """The last key of every query, -1 where it has none, without the rows."""
        last: IntArray = np.full(self.q.size, -1, dtype=np.int64)
        counter = _Counter(self.k, self.known)
        for part, boxes, counts in self._slices(counter):
            for box, count in zip(boxes, counts, strict=True):
                np.maximum(last[part], counter.last(box), out=last[part], where=count > 0)
        return last

    def _slices(
        self, counter: _Counter
    ) -> Iterator[tuple[slice, Sequence[_Box], Sequence[IntArray]]]:
        """Queries that follow one another, the box of keys of each clause, and how many keys."""
        for start in range(0, self.q.size, SLICE):
            part = slice(start, min(start + SLICE, self.q.size))
            places = np.arange(part.start, part.stop, dtype=np.int64)
            boxes = [_box(x, self.q, self.k, places, self.known) for x in self.clauses]
            yield part, boxes, [counter.count(box, len(places)) for box in boxes]


def solved(predicate: Expr, q: Extent, k: Extent, known: Known) -> Solved | None:
    """A predicate solved for the keys of every query; None when a literal resists.

    Literals that read unknown tensors are taken for true: the rows are then not exact.
    """
    found = clauses(predicate, MAX_CLAUSES)
    if found is None:
        return None
    kept = [tuple(x for x in clause if known.covers(x)) for clause in found]
    exact = all(len(a) == len(b) for a, b in zip(kept, found, strict=True))
    made = []
    for clause in dict.fromkeys(kept):
        facts = _solved(clause, q, k, known)
        if facts is None:
            return None
        made.append(facts)
    if any(x.on_keys for x in made) and not all(_bounds(x.facts) for x in made):
        return None  # a set of keys and a lattice that moves with the query
    return Solved(q, k, known, tuple(made), exact)


def _terms(
    boxes: Sequence[_Box], counts: Sequence[IntArray], counter: _Counter
) -> Iterator[tuple[int, IntArray]]:
    """Signed counts of every set of boxes that have keys in common."""
    stack = [(i, 1, box, counts[i]) for i, box in enumerate(boxes)]
    while stack:
        i, sign, box, count = stack.pop()
        if not count.any():
            continue
        yield sign, count
        for j in range(i + 1, len(boxes)):
            both = box.meet(boxes[j])
            stack.append((j, -sign, both, counter.count(both, len(count))))


def _solved(clause: Clause, q: Extent, k: Extent, known: Known) -> _Solved | None:
    """A clause solved for the key; None when a literal resists."""
    found: list[Fact] = []
    lowers: list[SortedEdge] = []
    uppers: list[SortedEdge] = []
    on_keys = []
    for literal in clause:
        edges = _sorted(literal, q, k, known)
        if edges is not None:
            lowers += edges[0]
            uppers += edges[1]
            continue
        facts = solve(literal)
        if len(k.axes) == 1 and not reads(literal, Side.Q) and not _bounds(facts):
            if any(isinstance(x, e.Index) for x in walk(literal)):
                return None
            on_keys.append(literal)
        elif any(isinstance(fact, Opaque) for fact in facts):
            return None
        else:
            found += facts
    return _Solved(tuple(found), tuple(lowers), tuple(uppers), frozenset(on_keys))


def _bounds(facts: Sequence[Fact]) -> bool:
    return all(isinstance(fact, Lower | Upper | RowOnly) for fact in facts)


def _box(solved: _Solved, q: Extent, k: Extent, places: IntArray, known: Known) -> _Box:
    """The keys of the queries at some places under one clause."""
    axes = {
        a: Progression(np.int64(o), np.int64(o + n))
        for a, o, n in zip(k.axes, k.origin, k.lengths, strict=True)
    }
    alive: NDArray[np.bool_] | None = None

    def at(x: Expr) -> Any:
        return _at(x, q, places, known)

    for edge in solved.lowers:
        axes[k.axes[0]] = axes[k.axes[0]].from_(edge.at(places))
    for edge in solved.uppers:
        axes[k.axes[0]] = axes[k.axes[0]].until(edge.at(places))
    for fact in solved.facts:
        match fact:
            case Lower(axis=axis, bound=bound):
                axes[axis] = axes[axis].from_(at(bound))
            case Upper(axis=axis, bound=bound):
                axes[axis] = axes[axis].until(at(bound))
            case Congruent(axis=axis, modulus=modulus, residue=residue):
                lattice = replace(axes[axis], modulus=modulus, residue=at(residue))
                axes[axis] = axes[axis].meet(lattice)
            case RowOnly(condition=condition):
                alive = _both(alive, np.asarray(at(condition)).astype(bool))
            case Opaque():
                raise AssertionError("a solved clause has none")
    return _Box(tuple(axes[a] for a in k.axes), alive, solved.on_keys)


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
