"""Tables of a sequence that is cut otherwise than into runs: by residues, or with combs apart.

Which tokens a strip needs is solved for, as when boxes are searched for. The tokens of a class lie
in the tiles of that class, one after another, so what a strip needs are a few runs of tiles, found
in time that grows with the sequence and not with its pairs.
"""

from __future__ import annotations

import numpy as np

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.folds import Residues, find_fold
from attnlang.compiler.layout.intervals import member_rows
from attnlang.compiler.layout.pieces import of_rows, pieces_of
from attnlang.compiler.layout.reach import AxisReach
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling, residues
from attnlang.compiler.plan.table import IntArray, Runs, RunTable, from_runs


def solved_table(
    predicate: Expr, stands: ExtentTiling, moves: ExtentTiling, known: Known
) -> RunTable | None:
    """What each tile of ``stands``, the predicate's queries, visits of ``moves``, its keys; None
    where that is not solved, and where both are runs, of which :mod:`rows` knows more.

    Of a union, tiles that one clause alone does not fill may be called partial.
    """
    if len(stands.axes) != 1 or len(moves.axes) != 1 or not stands.extent.size * moves.extent.size:
        return None
    (a,), (b,) = stands.axes, moves.axes
    step = _step(a, b)
    found = clauses(predicate)
    if step is None or found is None or (step == 1 and a.contiguous):
        return None
    if step > 1:
        q, k = stands.extent, moves.extent
        (axis,) = k.axes
        classes = (q.axes, q.lengths, q.origin) == (k.axes, k.lengths, k.origin)
        if not classes or find_fold(axis, found) != Residues(step):
            return None
    solved = [member_rows(x, 0, step, a.order, stands, moves, known) for x in found]
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
    """How far neighbours of a class of moving tokens are apart: 1 where tiles are runs of one size,
    a modulus where both sides are cut by its residues."""
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


def _some(starts: IntArray, stops: IntArray, chosen: np.ndarray) -> Runs:
    rows = np.flatnonzero(chosen & (stops > starts))
    return rows, starts[rows], stops[rows]
