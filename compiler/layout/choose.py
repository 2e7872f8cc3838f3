"""Choosing a layout: fold what equalities allow, then the box tiles of least cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from attnlang.compiler.analysis.key_intervals import ClauseBounds, clause_bounds
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause, clauses
from attnlang.compiler.analysis.periods import unwrapped
from attnlang.compiler.analysis.separable import BoolArray, Factor, factor_values, split
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.layout import cost
from attnlang.compiler.layout.aligned import DEFAULT_TILE, TileShape
from attnlang.compiler.layout.folds import (
    Blocks,
    Fold,
    Points,
    Residues,
    Whole,
    class_size,
    cut,
    find_fold,
    members,
    step_of,
)
from attnlang.compiler.layout.intervals import member_rows
from attnlang.compiler.layout.pieces import MOST_PIECES, Interval, of_rows, pieces_of
from attnlang.compiler.layout.reach import AxisReach, everything, reaches_of
from attnlang.compiler.layout.strips import strip_reaches
from attnlang.compiler.layout.tiling import (
    AxisTiling,
    ExtentTiling,
    IntArray,
    combed,
    contiguous,
    residues,
)
from attnlang.compiler.problem.problem import Extent

Reaches: TypeAlias = tuple[AxisReach, ...]
FEW_QUERIES = 16
"""Of a decoding step, whose keys are looked at one by one where an axis folds."""
APART = 8
"""How much less than all keys those of queries in tiles of their own must cost."""
SOLVED = 256
"""Beyond this length the bounds of a sequence's keys are solved for, where they can be."""
ENUMERATED = 1 << 25
"""Pairs of one axis that may be enumerated; beyond, its queries' intervals are solved for."""
MOST_CLASSES = 64
"""Classes of heads whose boxes are searched for together."""
COARSE = 5
"""Of a shorter period, the keys between those that come back are too few for a tile."""
MOST_TRUTH = 1 << 28
"""Elements of one axis' strips that a machine which masks them may hold."""


@dataclass(frozen=True, slots=True)
class HeadBoxes:
    """What one class of heads needs: key tile extents, and boxes, each a reach on every axis."""

    k_tile: TileShape
    boxes: tuple[tuple[AxisReach, ...], ...]


@dataclass(frozen=True, slots=True)
class Boxes:
    """A layout of boxes: query tiles that all heads share, and each class' own boxes of keys."""

    q: ExtentTiling
    classes: tuple[HeadBoxes, ...]
    folds: tuple[Fold, ...]
    cost: float


def box_search(
    wheres: Sequence[tuple[Expr, int]],
    q: Extent,
    k: Extent,
    known: Known,
    machine: cost.Machine,
) -> Boxes | None:
    """The cheapest boxes over one pair of grids, on a machine.

    wheres: each class' predicate and its number of heads. Folds are those that every class
    implies; the query tile is the one of least cost over all heads.

    None when a predicate is not a product of per-axis factors, or a query strip's keys are
    more than a few progressions.
    """
    if q.axes != k.axes or len(wheres) > MOST_CLASSES:
        return None
    found: list[Clause] = []
    for where, _ in wheres:
        own = clauses(where)
        if not own or not known.covers(where):
            return None
        found.extend(own)
    folds = tuple(find_fold(a, found) for a in q.axes)
    unlike = (q.lengths, q.origin) != (k.lengths, k.origin)
    whole = tuple(Whole() for _ in folds)
    decoding = unlike and folds != whole
    if decoding:  # classes of unlike axes do not correspond one to one
        if q.size > FEW_QUERIES:
            return None
        folds = whole
    made = [_axes_of(where, folds, q, k, known, machine) for where, _ in wheres]
    searched = [axes for axes in made if axes is not None]
    if len(searched) < len(made):
        return None
    options = [cost.extents(class_size(f, n)) for f, n in zip(folds, q.lengths, strict=True)]
    if len(q.axes) == 1 and q.lengths[0] > 8 * SOLVED:
        options = [[t for t in options[0] if t >= DEFAULT_TILE] or options[0][-1:]]
    best: Boxes | None = None
    for q_shape in cost.shapes(options):
        chosen = _chosen(searched, q_shape, machine)
        if chosen is None and decoding:
            break  # larger tiles of queries need more pieces
        if chosen is None:
            return None
        total = sum(n * value for (_, n), (_, value) in zip(wheres, chosen, strict=True))
        if best is None or total < best.cost:
            tiling = ExtentTiling(
                q, tuple(cut(folds[i], q.lengths[i], t) for i, t in enumerate(q_shape))
            )
            best = Boxes(tiling, tuple(own for own, _ in chosen), folds, total)
    if best is not None and decoding:
        tiles, heads = -(-k.size // cost.LARGEST_TILE), sum(n for _, n in wheres)
        every = heads * cost.cost(tiles, cost.slots(q.size), cost.LARGEST_TILE, machine)
        # All keys are read once for all queries, and for heads that share them.
        if best.cost > (every if best.q.tiles == 1 else every / APART):
            return None
    return best


def _chosen(
    classes: Sequence[list[_Axis]], q_shape: TileShape, machine: cost.Machine
) -> list[tuple[HeadBoxes, float]] | None:
    """What each class of heads needs at tiles of one shape, and what it costs; None where some
    strip needs too many pieces."""
    found = []
    for axes in classes:
        reaches = [axis.reaches(t) for axis, t in zip(axes, q_shape, strict=True)]
        whole = tuple(r for r in reaches if r is not None)
        if len(whole) < len(reaches):
            return None
        k_shape, value = _key_tile(axes, q_shape, whole, machine)
        found.append((HeadBoxes(k_shape, tuple(itertools.product(*whole))), value))
    return found


def _axes_of(
    where: Expr,
    folds: tuple[Fold, ...],
    q: Extent,
    k: Extent,
    known: Known,
    machine: cost.Machine,
) -> list[_Axis] | None:
    """The axes of one class to search over; None where its predicate does not fall apart."""
    trial_q = ExtentTiling(q, tuple(contiguous(n, n) for n in q.lengths))
    trial_k = ExtentTiling(k, tuple(contiguous(n, n) for n in k.lengths))
    for parts in conjunctions(where):
        factors = split(parts, trial_q, trial_k, known)
        if factors.rest or any(f.crosses for f in factors.factors):
            continue
        return [
            _Axis(
                i,
                folds[i],
                where,
                [f for f in factors.factors if a in (f.q_axis, f.k_axis)],
                trial_q,
                trial_k,
                known,
                machine,
            )
            for i, a in enumerate(q.axes)
        ]
    return None


def conjunctions(where: Expr) -> Iterator[Clause]:
    """The predicate as conditions that must all hold, in the ways that may fall apart by axes."""
    plain = simplify(where)
    yield plain.operands if isinstance(plain, e.And) else (plain,)
    union = clauses(where)
    if union:
        yield _joined(union)


def _joined(union: tuple[Clause, ...]) -> Clause:
    """A union as one clause: what its clauses share, and the union of their rests.

    Where the rests read one axis only, the whole is a product of per-axis factors after all.
    """
    shared = tuple(x for x in union[0] if all(x in clause for clause in union))
    rests = [tuple(x for x in clause if x not in shared) for clause in union]
    if not all(rests):
        return shared  # a clause of the shared literals alone contains the others
    return (*shared, e.Or(tuple(r[0] if len(r) == 1 else e.And(r) for r in rests)))


class _Axis:
    """One axis of a search: its pairs, and the reaches of its strips at every extent tried."""

    def __init__(
        self,
        index: int,
        fold: Fold,
        where: Expr,
        factors: list[Factor],
        q: ExtentTiling,
        k: ExtentTiling,
        known: Known,
        machine: cost.Machine,
    ) -> None:
        self.index, self.fold = index, fold
        self.where, self.factors = where, factors
        self.q, self.k, self.known, self.machine = q, k, known, machine
        self._reaches: dict[int, Reaches | None] = {}
        self._counts: dict[tuple[int, int], int] = {}

    def reaches(self, size: int) -> Reaches | None:
        """What strips of ``size`` need, piece by piece; None where that is too many pieces."""
        if size not in self._reaches:
            self._reaches[size] = self._compute(size)
        return self._reaches[size]

    def tiles(self, q_size: int, k_size: int) -> int:
        """Key tiles that all strips of the axis visit together."""
        key = (q_size, k_size)
        if key not in self._counts:
            reaches = self.reaches(q_size)
            assert reaches is not None
            self._counts[key] = sum(int(r.tiles(k_size).sum()) for r in reaches)
        return self._counts[key]

    def _compute(self, size: int) -> Reaches | None:
        strips = cut(self.fold, self.q.extent.lengths[self.index], size)
        keys = self.k.extent.lengths[self.index]
        if not self.factors:
            return (everything(strips, keys),)
        line = isinstance(self.fold, Whole) and len(self.q.axes) == 1
        if line and max(strips.length, keys) > SOLVED and self._bounds is not None:
            tiling = ExtentTiling(self.q.extent, (strips,))
            return strip_reaches(self._bounds, tiling, self.k, self.known)
        pairs = strips.length * class_size(self.fold, keys)
        if pairs > SOLVED * SOLVED:
            solved = self._solve_rows(strips)
            if solved is not None or pairs > ENUMERATED:
                return solved
        table, places = self._pairs
        return reaches_of(table, strips, places, step_of(self.fold), MOST_PIECES)

    @cached_property
    def _union(self) -> tuple[Clause, ...] | None:
        """What the axis demands as a union of clauses, which may be solved for the key."""
        literals = tuple(x for f in self.factors for x in f.literals)
        # A sequence's one axis demands the whole: the same object, whose clauses are known.
        found = clauses(self.where if len(self.q.axes) == 1 else e.And(literals))
        return None if found is None else unwrapped(found, self.q, self.k)

    @cached_property
    def _bounds(self) -> list[ClauseBounds] | None:
        """Every clause of a sequence solved for the key; None where one is not."""
        made = []
        for clause in () if self._union is None else self._union:
            bounds = clause_bounds(clause, self.q, self.k, self.known)
            if bounds is None:
                return None
            made.append(bounds)
        return made or None

    def _solve_rows(self, strips: AxisTiling) -> Reaches | None:
        """The reaches by the closed form, which takes time in the queries alone."""
        if self._rows is None:
            return None
        step = step_of(self.fold)
        first = strips.order[strips.offsets] % step
        needs = of_rows(self._rows, strips, step, first)
        reaches = pieces_of(needs, strips, masked=True)
        if reaches is not None and self.machine.exact_keys:
            width = sum(int(r.counts.max(initial=0)) for r in reaches)
            return reaches if strips.strips * strips.size * width <= MOST_TRUTH else None
        return reaches

    @cached_property
    def _rows(self) -> list[Interval] | None:
        """The members that each query attends under each clause, in strip order."""
        length = self.q.extent.lengths[self.index]
        order = cut(self.fold, length, max(class_size(self.fold, length), 1)).order
        step = step_of(self.fold)
        made = []
        for clause in () if self._union is None else self._union:
            rows = member_rows(clause, self.index, step, order, self.q, self.k, self.known)
            if rows is None:
                return None
            made.append(rows)
        return made or None

    @cached_property
    def _pairs(self) -> tuple[BoolArray, IntArray]:
        """All pairs inside the fold's classes: ``[queries, members]`` truth and key positions.

        Queries come class after class, which is the order of every cut of the fold.
        """
        i = self.index
        rows = members(self.fold, self.q.extent.lengths[i])
        keys = (
            members(self.fold, self.k.extent.lengths[i])
            if not isinstance(self.fold, Whole)
            else None
        )
        if keys is None:
            keys = np.arange(self.k.extent.lengths[i], dtype=np.int64)[None]
        real = (rows >= 0)[:, :, None] & (keys >= 0)[:, None, :]
        q_values = np.maximum(rows, 0)[:, :, None] + self.q.extent.origin[i]
        k_values = np.maximum(keys, 0)[:, None, :] + self.k.extent.origin[i]
        table = real
        for factor in self.factors:
            table = table & factor_values(factor, q_values, k_values, self.q, self.k, self.known)
        places = np.broadcast_to(keys[:, None, :], table.shape)
        inside = rows.ravel() >= 0
        width = table.shape[2]
        return table.reshape(-1, width)[inside], places.reshape(-1, width)[inside]


def _key_tile(
    axes: list[_Axis], q_shape: TileShape, reaches: tuple[Reaches, ...], machine: cost.Machine
) -> tuple[TileShape, float]:
    """The key tile of least cost for given query tiles."""
    q_slots = cost.slots(math.prod(q_shape))
    if machine.exact_keys:
        ones = (1,) * len(axes)
        visited = math.prod(a.tiles(s, 1) for a, s in zip(axes, q_shape, strict=True))
        return ones, cost.cost(visited, q_slots, 1, machine)
    options = [
        cost.extents(max(1, *(int(r.counts.max(initial=1)) for r in pieces))) for pieces in reaches
    ]
    best: tuple[TileShape, float] | None = None
    for shape in cost.shapes(options):
        visited = math.prod(a.tiles(s, t) for a, s, t in zip(axes, q_shape, shape, strict=True))
        value = cost.cost(visited, q_slots, cost.slots(math.prod(shape)), machine)
        if best is None or value < best[1]:
            best = shape, value
    assert best is not None
    return best


def cut_keys(boxes: Boxes, axis: int, length: int) -> AxisTiling:
    """The layout's own key tiles of an axis, for pictures and tables: cut by the same fold, and
    keys that are read by a step of their own apart from the others.

    Head classes may walk keys in tiles of unlike extents: these are the first's.
    """
    fold, size = boxes.folds[axis], boxes.classes[0].k_tile[axis]
    reaches = (box[axis] for own in boxes.classes for box in own.boxes)
    combs = {
        (r.step, int(r.starts[r.counts > 0][0]) % r.step)
        for r in reaches
        if r.step != step_of(fold) and r.counts.any()
    }
    if len(combs) != 1 or not isinstance(fold, Whole):
        return cut(fold, length, size)
    ((period, first),) = combs
    if period < COARSE:
        return residues(length, period, size)
    return combed(length, period, first, min(size, cost.slots(period - 1)))


def describe(boxes: Boxes, axes: tuple[str, ...]) -> tuple[str, ...]:
    """What was folded, in words."""
    words = []
    for axis, fold in zip(axes, boxes.folds, strict=True):
        match fold:
            case Blocks():
                words.append(f"{axis} folded by blocks of {fold.size}")
            case Residues():
                words.append(f"{axis} folded by residues modulo {fold.modulus}")
            case Points():
                words.append(f"{axis} folded position by position")
            case Whole():
                pass
    return tuple(words)
