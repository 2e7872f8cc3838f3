"""Tiles that repeat because everything the predicate reads of its tokens does.

A predicate looks at a query through the parts of it that read the query alone, such as its frame
and its place in the frame. Where some tiles further on each of them is the same, or larger by one
number, and likewise for keys, and the predicate is proved to stay the same when its parts move by
these numbers, then a pair of tiles is what the pair so many tiles before it is. That need not
hold everywhere: tiles at the ends, or in a frame that has a role of its own, are asked themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.alike import Cells, parts_of, values
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.shift import divisors, stays
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.traverse import children, kind_of, rebuild
from attnlang.compiler.layout.tiling import ExtentTiling

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Ask: TypeAlias = Callable[[IntArray, IntArray], tuple[BoolArray, BoolArray] | None]
"""Does any pair of the tiles ``rows`` x ``columns`` attend, and do all? None: too many to ask."""
FEWEST = 8
"""Of so many pairs that are known, at most one may have been asked."""


@dataclass(frozen=True, eq=False)
class _Moves:
    """What moves on one side. by: number of each part, and how much it grows. period: in tiles.
    alike ``[tiles]``: has each the parts of the tile a period before it, moved by so much?"""

    by: dict[Expr, int]
    period: int
    alike: BoolArray


def moving_kinds(
    predicate: Expr, q: Cells, k: Cells, periods: tuple[int, int], known: Known, ask: Ask
) -> NDArray[np.uint8] | None:
    """The kinds of all pairs ``[q tiles, k tiles]`` (0 empty, 1 partial, 2 full) of two segments
    with one axis each; None where too few repeat, or it is not proved.

    periods: see :func:`periods_of`.
    """
    queries, keys = (
        _moves(predicate, side, x, period, known)
        for side, x, period in zip(Side, (q, k), periods, strict=True)
    )
    n_rows, n_columns = len(q.tokens), len(k.tokens)
    copied = int(queries.alike.sum()) * int(keys.alike.sum())
    if FEWEST * (n_rows * n_columns - copied) > n_rows * n_columns:
        return None
    if not _proved(predicate, {Side.Q: queries.by, Side.K: keys.by}):
        return None
    rows, columns = np.nonzero(~(queries.alike[:, None] & keys.alike[None, :]))
    found = ask(rows, columns)
    if found is None:
        return None
    some, every = found
    kinds = np.zeros((n_rows, n_columns), dtype=np.uint8)
    kinds[rows, columns] = some.astype(np.uint8) + (some & every)
    alike = keys.alike[keys.period :]
    for row in np.flatnonzero(queries.alike):
        here, before = kinds[row, keys.period :], kinds[row - queries.period, : -keys.period]
        np.copyto(here, before, where=alike)
    return kinds


def periods_of(predicate: Expr, q: ExtentTiling, k: ExtentTiling) -> tuple[int, int] | None:
    """After how many tiles of either side the divisors in a predicate begin anew; None where tiles
    are no runs of tokens, or are too few for it."""
    if len(q.axes) > 1 or len(k.axes) > 1:
        return None
    (a,), (b,) = q.axes, k.axes
    step = math.lcm(a.size, b.size, *divisors(predicate))
    if not (a.contiguous and b.contiguous) or 4 * step > min(a.length, b.length):
        return None
    return step // a.size, step // b.size


def _moves(predicate: Expr, side: Side, cells: Cells, period: int, known: Known) -> _Moves:
    by: dict[Expr, int] = {}
    real = cells.tokens >= 0
    alike = np.zeros(len(real), dtype=bool)
    alike[period:] = (real[period:] == real[:-period]).all(axis=1)
    parts = parts_of(predicate, side)
    for part, value in zip(parts, values(parts, cells, known), strict=True):
        now, before = value[period:], value[:-period]
        by[part] = 0
        if kind_of(part) is Kind.INT:
            middle = len(now) // 2
            by[part] = int(now[middle, 0] - before[middle, 0])
            before = before + by[part]
        alike[period:] &= ((now == before) | ~real[period:]).all(axis=1)
    return _Moves(by, period, alike)


def _proved(predicate: Expr, by: dict[Side, dict[Expr, int]]) -> bool:
    """Does the predicate stay the same when each of its parts moves by its number?"""
    numbers = {(side, x): i for side in Side for i, x in enumerate(by[side])}
    moves = {(side, f"part {numbers[side, x]}"): n for side in Side for x, n in by[side].items()}

    def opened(x: Expr) -> Expr:
        for side in Side:
            if (side, x) in numbers:
                name = f"part {numbers[side, x]}"
                whole = kind_of(x) is Kind.INT
                return e.Coord(side, name) if whole else e.TokenInput(side, name, kind_of(x))
        below = children(x)
        return rebuild(x, tuple([opened(c) for c in below])) if below else x

    def moved(x: Expr) -> Expr | None:
        if isinstance(x, e.Coord) and moves[x.side, x.axis]:
            return e.Arith("+", x, e.Int(moves[x.side, x.axis]))
        return None

    return stays(opened(predicate), moved)
