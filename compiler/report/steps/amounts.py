"""How many pairs a rule leaves: keys of each query, of all queries or of a sample of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause, clauses, reads
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.program import Rule, SizeOf
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.tiling import coordinate
from attnlang.compiler.problem.problem import Extent, Problem, grid_of
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.report.dense import keys_at
from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.steps.model import Amount
from attnlang.compiler.report.steps.sets import Chosen, Sets, possible

IntArray = NDArray[np.int64]
Places: TypeAlias = IntArray | None
"""The queries of a sample, as places of the grid; None for all."""
SAMPLE = 256
MAX_CLAUSES = 8


class _Counts:
    """Keys of relations, counted once each: heads often differ in the set they read alone."""

    def __init__(self) -> None:
        self._made: dict[object, IntArray | None] = {}
        self._sizes: dict[object, int | None] = {}

    def of_member(self, found: Chosen, read: e.Table, k: Sequence[Extent]) -> int | None:
        """How many keys read the same member at most; None where that depends on the query."""
        _, indices = found.indices(read)
        key = found.select.name, indices, tuple(k)
        if key not in self._sizes:
            self._sizes[key] = _keys_of_member(found, indices, k)
        return self._sizes[key]

    def keys(self, relation: Relation, where: Expr, places: Places) -> IntArray | None:
        """Keys of every query under a condition, or of those of a sample; at most so many where
        inputs are unknown."""
        key = where, relation.q, relation.k, places is None
        if key not in self._made:
            self._made[key] = self._count(replace(relation, where=where), places)
        return self._made[key]

    @staticmethod
    def _count(relation: Relation, places: Places) -> IntArray | None:
        rows = rows_of(relation) if places is None or not relation.evaluable else None
        if places is None:
            return None if rows is None else rows.keys
        if relation.evaluable:
            return keys_at(relation, places)
        start = grid_of(relation.q).start
        return None if rows is None else rows.keys[start + places]


def candidates(problem: Problem, sets: Sets, known: Known) -> Amount | None:
    """The pairs of a condition, whatever is chosen before; None when they cannot be counted."""

    counts = _Counts()

    def keys(relation: Relation, places: Places) -> IntArray | None:
        return counts.keys(relation, possible(relation.where, sets), places)

    return _counted(problem.q, relations(problem, known), keys)


def members(found: Chosen, made: BoundProgram, sets: int) -> Amount | None:
    """How many members the sets have at most, by their rule. sets: how many there are."""
    relation = Relation(tuple(range(sets)), found.may, (found.q,), (found.k,), Known())
    counts = _Counts()

    def keys(_: Relation, places: Places) -> IntArray | None:
        both = _members(found, made, places, counts)
        return None if both is None else both[0]

    counted = _counted((found.q,), (relation,), keys)
    total = _total(found, made)
    if counted is None or total is None:
        return counted
    total = min(counted.total, total)
    return Amount(total, total / max(sets * found.q.size, 1), counted.most, counted.sample)


def least(found: Chosen, made: BoundProgram, sets: int) -> float | None:
    """Members that a query has for sure, on average: those that are forced, and of a `mass` one
    more of the candidates. None for a rule that says how many, and where they were not counted."""
    rule = found.select.rule
    counts = _Counts()
    relation = Relation((0,), found.may, (found.q,), (found.k,), Known())
    forced, may = (counts.keys(relation, x, None) for x in (found.must, found.may))
    if rule.kind == "top" or not found.exact or forced is None or may is None:
        return None
    total = int(forced.sum())
    if rule.kind == "mass" and found.by_query:
        total += int((may > forced).sum())
    elif rule.kind == "mass" and int((may > forced).sum()):
        total += max(choices(found, made) // max(sets, 1), 1)
    return total / max(found.q.size, 1)


def attending(problem: Problem, sets: Sets, known: Known, made: BoundProgram) -> Amount | None:
    """The pairs of a condition that reads sets, given how many members these have at most."""
    if len(problem.q) > 1:
        return None

    counts = _Counts()

    def keys(relation: Relation, places: Places) -> IntArray | None:
        most = counts.keys(relation, possible(relation.where, sets), places)
        split = clauses(relation.where, MAX_CLAUSES)
        if most is None or split is None:
            return most
        total: IntArray = np.zeros_like(most)
        for clause in split:
            part = _of_clause(clause, relation, sets, made, places, counts)
            if part is None:
                return most
            total = total + part
        return np.minimum(most, total)

    return _counted(problem.q, relations(problem, known), keys)


def _of_clause(
    clause: Clause,
    relation: Relation,
    sets: Sets,
    made: BoundProgram,
    places: Places,
    counts: _Counts,
) -> IntArray | None:
    """Keys of each query for one conjunction: those of forced members, and as many more as the
    rule allows members, each of which stands for so many keys."""
    whole = _conjunction(clause)
    best = counts.keys(relation, possible(whole, sets), places)
    for literal in clause:
        if not isinstance(literal, e.Table) or literal.name not in sets or best is None:
            continue
        found = sets[literal.name]
        size = counts.of_member(found, literal, relation.k)
        queries, _ = found.indices(literal)
        own = queries == tuple(e.Coord(Side.Q, a) for a in found.q.axes)
        if own and _among_queries(found):
            best = _largest(best, top(found.select.rule, made), found.q.size)
            continue
        both = _members(found, made, places if own else None, counts) if found.by_query else None
        if size is None or both is None:
            continue
        rest = tuple(x for x in clause if x is not literal)
        forced = possible(_conjunction((*rest, found.put(literal, found.must))), sets)
        certain = counts.keys(relation, forced, places)
        if certain is not None:
            more = both[0] - both[1]
            best = np.minimum(best, certain + (more if own else int(more.max(initial=0))) * size)
    return best


def _among_queries(found: Chosen) -> bool:
    """Does each choice take some of all queries, of a head or of all?"""
    first = found.select.by_head
    queries = {*range(first, first + len(found.q.axes))}
    alone = found.k.size == 1 and found.select.force is None
    return alone and not queries & {*found.select.rule.per}


def _largest(keys: IntArray, count: int | None, queries: int) -> IntArray:
    """The keys of as many queries as are chosen, those that have the most; 0 of the others: more
    than that they cannot be. keys: of all queries, or of a sample."""
    if count is None:
        return keys
    count = min(-(-count * len(keys) // max(queries, 1)), len(keys))
    kept = np.argsort(-keys, kind="stable")[:count]
    found: IntArray = np.zeros_like(keys)
    found[kept] = keys[kept]
    return found


def _members(
    found: Chosen, made: BoundProgram, places: Places, counts: _Counts
) -> tuple[IntArray, IntArray] | None:
    """Members of each query's set: at most, and of these for sure."""
    relation = Relation((0,), found.may, (found.q,), (found.k,), Known())
    may, must = (counts.keys(relation, x, places) for x in (found.may, found.must))
    if may is None or must is None:
        return None
    count = top(found.select.rule, made)
    if count is None or not found.by_query:
        return may, must
    return np.minimum(np.maximum(must, count), may), must


def _total(found: Chosen, made: BoundProgram) -> int | None:
    """Members of all sets together where a choice is made for other things than queries."""
    count = top(found.select.rule, made)
    if count is None or found.by_query or found.select.force is not None:
        return None
    return choices(found, made) * count


def top(rule: Rule, made: BoundProgram) -> int | None:
    """How many the rule chooses at most, besides what is forced; None where the data decide."""
    if rule.kind != "top" or isinstance(rule.amount, SizeOf):
        return None
    return max(int(made.number(rule.amount)), 0)


def choices(found: Chosen, made: BoundProgram) -> int:
    """How often the rule is applied, in one batch element."""
    dims = (*found.q.lengths, *found.k.lengths)
    if found.select.by_head:
        heads = made.frame.heads if found.select.dims[0] == "head" else made.frame.kv_heads
        dims = (heads, *dims)
    return math.prod(dims[i] for i in found.select.rule.per)


def _keys_of_member(found: Chosen, indices: tuple[Expr, ...], k: Sequence[Extent]) -> int | None:
    grid = grid_of(k)
    for index in indices:
        other = any(isinstance(n, e.TokenInput | e.Table | e.InSegment) for n in walk(index))
        if other or reads(index, Side.Q):
            return None
    places = np.arange(grid.size, dtype=np.int64)

    def leaf(x: Expr) -> IntArray:
        match x:
            case e.Coord(axis=axis):
                return np.asarray(coordinate(grid, axis, places))
            case e.Index():
                return places + grid.start
            case _:
                raise AssertionError(f"{x} has no value here")

    flat: IntArray = np.zeros(grid.size, dtype=np.int64)
    for index, length in zip(indices, found.lengths[-len(indices) :], strict=False):
        at = np.broadcast_to(np.asarray(evaluate(index, leaf)), flat.shape)
        flat = flat * (length + 2) + np.clip(at, -1, length) + 1
    return int(np.unique(flat, return_counts=True)[1].max(initial=0))


def _conjunction(parts: Sequence[Expr]) -> Expr:
    return simplify(e.And(tuple(parts))) if parts else e.TRUE


def _counted(
    q: Sequence[Extent],
    classes: Sequence[Relation],
    keys: Callable[[Relation, Places], IntArray | None],
) -> Amount | None:
    """The keys of all classes of heads, of a sample of queries where all are too many."""
    queries = q[-1].stop
    for places in (None, _sample(q)):
        found = [(len(r.heads), keys(r, places)) for r in classes]
        whole = [(n, x) for n, x in found if x is not None]
        if len(whole) == len(found) and queries:
            each = len(whole[0][1])
            total = sum(n * int(x.sum()) for n, x in whole)
            heads = sum(n for n, _ in whole)
            most = max(int(x.max(initial=0)) for _, x in whole)
            sample = None if places is None else each
            return Amount(total * queries // each, total / (heads * each), most, sample)
    return None


def _sample(q: Sequence[Extent]) -> IntArray:
    """Places of queries spread evenly over the grid, each at random within its stretch."""
    grid = grid_of(q)
    count = min(SAMPLE, grid.size)
    offsets = np.random.default_rng(0).random(count)
    return ((np.arange(count) + offsets) * grid.size / count).astype(np.int64)
