"""Tokens that a predicate cannot tell apart: one of them is asked for all.

A predicate looks at a query through the parts of it that read the query alone: its document, the
block it lies in, its role. Queries on which all of those agree attend alike, and keys likewise. So
a tile of one block is one element, and tiles that hold the same are the same tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.analysis.normal import reads
from attnlang.compiler.analysis.repeats import representatives
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate, evaluate_all
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.share import shared_by_all
from attnlang.compiler.ir.traverse import children
from attnlang.compiler.layout.tiling import ExtentTiling, contiguous, coordinates
from attnlang.compiler.problem.problem import Extent

IntArray = NDArray[np.int64]
SLICE = 1 << 15
"""Tokens whose parts are worked out at once: every value on the way is held for so many."""
FEW = 8
"""Pairs for each token that are not worth looking for what is alike among them."""


@dataclass(frozen=True)
class Cells:
    """What there is to ask of the tiles of one segment.

    tokens: ``[tiles, capacity]`` a token for each kind in a tile, -1 where there are fewer.
    kinds: ``[tiles]`` equal for tiles that hold the same kinds of tokens; None: not compared.
    """

    extent: Extent
    tokens: IntArray
    kinds: IntArray | None

    @property
    def capacity(self) -> int:
        """Slots of a tile."""
        return int(self.tokens.shape[1])


def cells(predicate: Expr, tiling: ExtentTiling, side: Side, known: Known) -> Cells:
    """The tiles of a segment with one token for all that are alike."""
    ids = _kinds(predicate, tiling, side, known)
    if ids is None:
        return Cells(tiling.extent, tiling.tokens, None)
    # Padding comes last. Numbers of few bits are sorted by their digits.
    none = int(ids.max(initial=-1)) + 1
    ids = np.where(tiling.tokens >= 0, ids, none).astype(np.min_scalar_type(none))
    tokens = tiling.tokens
    if (ids[:, 1:] < ids[:, :-1]).any():
        order = np.argsort(ids, axis=1, kind="stable")
        ids, tokens = np.take_along_axis(ids, order, 1), np.take_along_axis(tokens, order, 1)
    new = np.ones(ids.shape, dtype=bool)
    new[:, 1:] = ids[:, 1:] != ids[:, :-1]
    new &= tokens >= 0
    place = np.cumsum(new, axis=1) - 1
    table = np.full((tiling.tiles, int(new.sum(axis=1).max(initial=1))), -1, dtype=np.int64)
    chosen = table.copy()
    rows = np.nonzero(new)[0]
    table[rows, place[new]], chosen[rows, place[new]] = ids[new], tokens[new]
    kinds = numbered_together(list(table.T), (tiling.tiles,))
    return Cells(tiling.extent, chosen, kinds)


def census(predicate: Expr, extent: Extent, side: Side, known: Known) -> tuple[IntArray, IntArray]:
    """Places of one token for each kind in a segment, counted from its first, and how many of it
    there are."""
    whole = ExtentTiling(extent, tuple(contiguous(n, n) for n in extent.lengths))
    ids = _kinds(predicate, whole, side, known)
    if ids is None:
        return np.arange(extent.size), np.ones(extent.size, dtype=np.int64)
    return whole.tokens.ravel()[_places(ids.ravel())] - extent.start, np.bincount(ids.ravel())


@dataclass(frozen=True, eq=False)
class Asked:
    """Tile pairs that stand for others. q, k: the tokens of tiles to look at, of which ``rows`` and
    ``columns`` are pairs. copies: for each pair that was given, which of these it is like."""

    q: ExtentTiling | Cells
    k: ExtentTiling | Cells
    rows: IntArray
    columns: IntArray
    copies: IntArray

    @property
    def elements(self) -> int:
        """How many pairs of tokens there are to look at."""
        return len(self.rows) * self.q.capacity * self.k.capacity


def to_ask(
    predicate: Expr,
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
    rows: IntArray,
    columns: IntArray,
) -> Asked:
    """What is to be asked of these tile pairs: one of all that hold the same, or that are moved
    along a diagonal, and one token of all that are alike. Few are asked as they are: that takes no
    longer than to look at every token."""
    whole = Asked(q, k, rows, columns, np.arange(len(rows)))
    if whole.elements <= FEW * (q.extent.size + k.extent.size):
        return whole
    a, b = cells(predicate, q, Side.Q, known), cells(predicate, k, Side.K, known)
    moved = a.kinds is None and b.kinds is None
    found = (
        representatives(predicate, q, k, rows, columns) if moved else distinct(a, b, rows, columns)
    )
    # Tiles of which every token differs are asked as they are: the products of strips.
    return Asked(q if a.kinds is None else a, k if b.kinds is None else b, *found)


def distinct(
    q: Cells, k: Cells, rows: IntArray, columns: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Tile pairs to ask, and for each given pair which of them it is like."""
    many = len(k.tokens)
    first = rows if q.kinds is None else _first(q.kinds)[rows]
    second = columns if k.kinds is None else _first(k.kinds)[columns]
    found, copies = np.unique(first * many + second, return_inverse=True)
    return found // many, found % many, copies.ravel()


def _first(kinds: IntArray) -> IntArray:
    """For every tile the first of its kind."""
    return _places(kinds)[kinds]


def _places(numbers: IntArray) -> IntArray:
    """Where each number from 0 on is met first."""
    first = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]  # of two, the later one stays
    return first


def _kinds(predicate: Expr, tiling: ExtentTiling, side: Side, known: Known) -> IntArray | None:
    """A number for the kind of every token ``[tiles, capacity]``; None if nearly all differ."""
    parts = parts_of(predicate, side)
    told = {x.axis for x in parts if isinstance(x, e.Coord)}
    if any(isinstance(x, e.Index) for x in parts) or told.issuperset(tiling.extent.axes):
        return None
    ids = numbered_together(values(parts, tiling, known), tiling.tokens.shape)
    return ids if 2 * int(ids.max(initial=0)) < ids.size else None


def parts_of(predicate: Expr, side: Side) -> list[Expr]:
    """The different parts of a predicate that read this side's token and not the other's."""
    return list(dict.fromkeys(_parts(predicate, side)))


def _parts(x: Expr, side: Side) -> Iterator[Expr]:
    """The largest parts that read this side's token and not the other's."""
    if not reads(x, side):
        return
    other = Side.K if side is Side.Q else Side.Q
    if reads(x, other):
        for child in children(x):
            yield from _parts(child, side)
    else:
        yield x


def values(parts: list[Expr], tiling: ExtentTiling | Cells, known: Known) -> list[NDArray[Any]]:
    """What parts that read one token are of every token ``[tiles, capacity]``."""
    found: list[list[NDArray[Any]]] = [[] for _ in parts]
    parts = list(shared_by_all(parts))
    step = max(1, SLICE // tiling.capacity)
    for start in range(0, len(tiling.tokens), step):
        tokens = tiling.tokens[start : start + step]
        here = evaluate_all(parts, _leaf(tiling.extent, tokens, known))
        for one, value in zip(found, here, strict=True):
            one.append(np.broadcast_to(value, tokens.shape))
    return [np.concatenate(x) for x in found]


def _leaf(extent: Extent, tokens: IntArray, known: Known) -> Callable[[Expr], Any]:
    def leaf(x: Expr) -> Any:
        match x:
            case e.Coord(axis=axis):
                return coordinates(extent, tokens, axis)
            case e.Index():
                return tokens
            case e.TokenInput(side=side, name=name):
                return known.tokens[name, side][np.maximum(tokens - extent.start, 0)]
            case e.Table(name=name):
                return read_table(known.tables[name], [evaluate(i, leaf) for i in x.indices])
            case _:
                raise AssertionError(f"{x} has no value here")

    return leaf


def numbered_together(parts: list[NDArray[Any]], shape: tuple[int, ...]) -> IntArray:
    """One number for every combination of values, from 0 on."""
    codes, many = np.zeros(shape, dtype=np.int64), 1
    for part in parts:
        code = numbered(np.broadcast_to(part, shape))
        several = int(code.max(initial=0)) + 1
        codes = codes * several + code if many > 1 else code
        many *= several
        if many > codes.size:
            codes = numbered(codes)
            many = int(codes.max(initial=0)) + 1
    return numbered(codes)


def numbered(values: NDArray[Any]) -> IntArray:
    """The place of each value among the distinct ones, in ascending order: ``[...]`` as given.

    Integers that lie close together are counted, others sorted.
    """
    if values.size and values.dtype.kind in "iub":
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * values.size:
            there = np.zeros(high - low + 1, dtype=bool)
            offset = values.astype(np.int64) - low
            there[offset] = True
            places: IntArray = (np.cumsum(there) - 1)[offset]
            return places
    _, places = np.unique(values, return_inverse=True)
    return places.reshape(values.shape)
