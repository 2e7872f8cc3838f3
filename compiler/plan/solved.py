"""Tables of plans that have boxes, axis by axis: which tiles a tile visits is a product.

Short axes are enumerated. Of a long one it is solved for which tokens a strip needs, as when boxes
are searched for: those of a class lie in the tiles of that class, one after another, so a strip
needs a few runs of tiles. Either way time grows with the axes, not with the pairs of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.analysis.separable import Factor, factor_values, split
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.choose import conjunctions
from attnlang.compiler.layout.folds import Residues, find_fold
from attnlang.compiler.layout.intervals import member_rows
from attnlang.compiler.layout.pieces import of_rows, pieces_of
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling, residues
from attnlang.compiler.plan.table import (
    IntArray,
    Runs,
    RunTable,
    from_kinds,
    from_runs,
    joined,
)

ENUMERATED = 1 << 22
"""Pairs of one axis that are looked at one by one, at most."""


def solved_table(
    predicate: Expr, stands: ExtentTiling, moves: ExtentTiling, known: Known
) -> RunTable | None:
    """What each tile of ``stands``, the predicate's queries, visits of ``moves``, its keys; None
    where that is no product of axes or not solved, and for runs of one sequence, of which
    :mod:`rows` knows more.

    Of a union on a long axis, tiles that one clause alone does not fill may be called partial.
    """
    axes = stands.extent.axes
    if (
        isinstance(predicate, e.Bool)
        or axes != moves.extent.axes
        or not stands.extent.size * moves.extent.size
    ):
        return None
    if len(axes) == 1 and stands.axes[0].contiguous and moves.axes[0].contiguous:
        return None
    for parts in conjunctions(predicate):
        found = split(parts, stands, moves, known)
        if found.rest or any(f.crosses for f in found.factors):
            continue
        tables = []
        for i, axis in enumerate(axes):
            own = [f for f in found.factors if axis in (f.q_axis, f.k_axis)]
            table = _axis_table(i, own, stands, moves, known)
            if table is None:
                return None
            tables.append(table)
        return reduce(_product, tables)
    return None


def _product(outer: RunTable, inner: RunTable) -> RunTable:
    """Tiles of both, those of ``inner`` side by side in each of ``outer``."""
    rows, columns, full = outer.entries()
    row = (rows[:, None] * inner.rows + inner.row_of_run).ravel()
    left = columns[:, None] * inner.columns
    start, stop = (left + inner.starts).ravel(), (left + inner.stops).ravel()
    order = np.lexsort((start, row))
    whole = (full[:, None] & inner.full).ravel()[order]
    shape = outer.rows * inner.rows, outer.columns * inner.columns
    return joined((row[order], start[order], stop[order]), whole, *shape)


def _axis_table(
    i: int, factors: Sequence[Factor], stands: ExtentTiling, moves: ExtentTiling, known: Known
) -> RunTable | None:
    """The strips that strips of one axis visit."""
    a, b = stands.axes[i], moves.axes[i]
    if a.length * b.length > ENUMERATED:
        return _solved_axis(i, [x for f in factors for x in f.literals], stands, moves, known)
    q, k = (x.order + t.extent.origin[i] for x, t in ((a, stands), (b, moves)))
    truth = np.ones((a.length, b.length), dtype=bool)
    for factor in factors:
        truth &= factor_values(factor, q[:, None], k[None], stands, moves, known)
    some, every = (_over(f, truth, a, b) for f in (np.logical_or, np.logical_and))
    return from_kinds((some.astype(np.uint8) + every).astype(np.uint8))


def _over(join: np.ufunc, truth: NDArray[np.bool_], a: AxisTiling, b: AxisTiling) -> np.ndarray:
    """Any or all pairs of each two strips."""
    found: np.ndarray = join.reduceat(join.reduceat(truth, a.offsets, axis=0), b.offsets, axis=1)
    return found


def _solved_axis(
    i: int, literals: Sequence[Expr], stands: ExtentTiling, moves: ExtentTiling, known: Known
) -> RunTable | None:
    a, b = stands.axes[i], moves.axes[i]
    step = _step(a, b)
    found = clauses(e.And(tuple(literals)) if literals else e.TRUE)
    if step is None or not found:
        return None
    if step > 1:
        q, k = stands.extent, moves.extent
        alike = (q.lengths[i], q.origin[i]) == (k.lengths[i], k.origin[i])
        if not alike or find_fold(k.axes[i], found) != Residues(step):
            return None
    solved = [member_rows(x, i, step, a.order, stands, moves, known) for x in found]
    rows = [x for x in solved if x is not None]
    if len(rows) < len(solved):
        return None
    pieces = pieces_of(of_rows(rows, a, step, a.order[a.offsets] % step), a, masked=False)
    if pieces is None:
        return None
    live, partial = [], []
    for piece in pieces:
        every, *edges = _runs_of(piece, b, step)
        live.append(every)
        partial += edges
    return from_runs(live, partial, a.strips, b.strips)


def _step(a: AxisTiling, b: AxisTiling) -> int | None:
    """How far neighbours of a class of moving tokens are apart: 1 where strips are runs of one
    size, a modulus where both sides are cut by its residues."""
    if b.contiguous:
        return 1
    modulus = int(b.steps[0])
    if modulus < 2 or not (_by_residues(a, modulus) and _by_residues(b, modulus)):
        return None
    return modulus


def _by_residues(x: AxisTiling, modulus: int) -> bool:
    same = residues(x.length, modulus, x.size)
    return np.array_equal(x.starts, same.starts) and np.array_equal(x.steps, same.steps)


def _runs_of(piece: AxisReach, tiles: AxisTiling, step: int) -> tuple[Runs, Runs, Runs]:
    """The tiles that each strip visits, and of these the first and the last that are not full."""
    residue, member = piece.starts % step, piece.starts // step
    size = tiles.size
    # Tiles of a class follow one another: where those of each begin, and how many tokens it has.
    classes = np.arange(min(step, tiles.length), dtype=np.int64)
    length = -(-(tiles.length - classes) // step)
    count = -(-length // size)
    base = (np.cumsum(count) - count)[residue]
    full, stop = member + piece.full_starts, member + piece.full_starts + piece.full_counts
    first, last = member // size, (member + piece.counts - 1) // size + 1
    last_full = np.where(stop == length[residue], -(-stop // size), stop // size)
    begin = np.clip(-(-full // size), first, last)
    end = np.where(piece.full_counts > 0, np.clip(last_full, begin, last), begin)
    some = piece.counts > 0
    ends = ((first, last), (first, begin), (end, last))
    every, left, right = (_some(base + x, base + y, some) for x, y in ends)
    return every, left, right


def _some(starts: IntArray, stops: IntArray, chosen: NDArray[np.bool_]) -> Runs:
    rows = np.flatnonzero(chosen & (stops > starts))
    return rows, starts[rows], stops[rows]
