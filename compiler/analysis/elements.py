"""Evaluating a predicate element by element, on chosen tiles: the last and exact word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known, read_table
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.tiling import ExtentTiling, coordinates
from attnlang.compiler.problem.problem import Extent

IntArray = NDArray[np.int64]
CHUNK = 1 << 18
"""Elements evaluated at once: every part of a predicate is held for so many."""


USUAL = 64
"""Parts of a predicate up to which a chunk is so long: of a larger one less is held at once."""


@remembered
def operations(root: Expr) -> int:
    """Of how many different parts an expression is made: what one element costs."""
    return sum(1 for _ in walk(root))


class Tokens(Protocol):
    """Places in the sequence ``[tiles, slots]`` of one segment; -1 is padding."""

    @property
    def extent(self) -> Extent: ...

    @property
    def tokens(self) -> IntArray: ...


class Elements:
    """The pairs of two tiled segments.

    Where tiles are products of strips, what reads one axis has that axis' slots as its shape.
    """

    def __init__(self, q: Tokens, k: Tokens, known: Known) -> None:
        self.q, self.k, self.known = q, k, known
        self._shapes = {Side.Q: _slots(q), Side.K: _slots(k)}
        self._places: dict[tuple[Side, str], IntArray] = {}

    def evaluate(self, root: Expr, rows: IntArray, columns: IntArray) -> NDArray[Any]:
        """Values ``[pairs, q slots, k slots]`` on tile pairs; padding holds anything."""

        chosen = {Side.Q: rows, Side.K: columns}

        def lay(side: Side, here: NDArray[Any], axis: int | None = None) -> NDArray[Any]:
            own = self._shapes[side]
            if axis is not None:
                own = tuple(n if i == axis else 1 for i, n in enumerate(own))
            after = (1,) * len(self._shapes[Side.K]) if side is Side.Q else ()
            before = (1,) * len(self._shapes[Side.Q]) if side is Side.K else ()
            return here.reshape(len(rows), *before, *own, *after)

        def leaf(x: Expr) -> Any:
            match x:
                case e.Coord(side=side, axis=name):
                    extent = self._tiling(side).extent
                    axis = extent.axes.index(name) if len(self._shapes[side]) > 1 else None
                    return lay(side, self._coordinate(side, name)[chosen[side]], axis)
                case e.Index(side=side):
                    return lay(side, self._tiling(side).tokens[chosen[side]])
                case e.TokenInput(side=side, name=name):
                    tiling, values = self._tiling(side), self.known.tokens[name, side]
                    places = tiling.tokens[chosen[side]] - tiling.extent.start
                    return lay(side, values[np.maximum(places, 0)])
                case e.Table(name=name):
                    indices = [evaluate(i, leaf) for i in x.indices]
                    return read_table(self.known.tables[name], indices)
                case _:
                    raise AssertionError(f"{x} has no value here")

        shape = (len(rows), *self._shapes[Side.Q], *self._shapes[Side.K])
        found = np.broadcast_to(np.asarray(evaluate(root, leaf)), shape)
        return found.reshape(len(rows), self.q.tokens.shape[1], self.k.tokens.shape[1])

    def real(self, rows: IntArray, columns: IntArray) -> NDArray[np.bool_]:
        """Which slots hold a pair of tokens: not padding."""
        return (self.q.tokens[rows] >= 0)[:, :, None] & (self.k.tokens[columns] >= 0)[:, None, :]

    def masks(
        self, root: Expr, rows: IntArray, columns: IntArray
    ) -> Iterator[tuple[slice, NDArray[np.bool_], NDArray[np.bool_]]]:
        """Chunk by chunk: which pairs of tiles, the predicate on them, and what is real."""
        area = self.q.tokens.shape[1] * self.k.tokens.shape[1]
        step = max(1, CHUNK * USUAL // max(operations(root), USUAL) // area)
        for i in range(0, len(rows), step):
            part = slice(i, i + step)
            r, c = rows[part], columns[part]
            yield part, self.evaluate(root, r, c).astype(bool), self.real(r, c)

    def any_and_all(
        self, root: Expr, rows: IntArray, columns: IntArray
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """For each tile pair: does any real element satisfy the predicate, and do all?"""
        some = np.zeros(len(rows), dtype=bool)
        every = np.zeros(len(rows), dtype=bool)
        for part, value, real in self.masks(root, rows, columns):
            some[part] = (value & real).any(axis=(1, 2))
            every[part] = (value | ~real).all(axis=(1, 2))
        return some, every

    def count(self, root: Expr, rows: IntArray, columns: IntArray) -> int:
        """How many real pairs of these tiles satisfy the predicate."""
        return sum(int((value & real).sum()) for _, value, real in self.masks(root, rows, columns))

    def _tiling(self, side: Side) -> Tokens:
        return self.q if side is Side.Q else self.k

    def _coordinate(self, side: Side, axis: str) -> IntArray:
        """Coordinates ``[tiles, slots]``: of the slots of one axis where a tile has axes."""
        found = self._places.get((side, axis))
        if found is None:
            tiling = self._tiling(side)
            if isinstance(tiling, ExtentTiling) and len(self._shapes[side]) > 1:
                found = _of_strips(tiling, tiling.extent.axes.index(axis))
            else:
                found = coordinates(tiling.extent, tiling.tokens, axis)
            self._places[side, axis] = found
        return found


def _slots(tiling: Tokens) -> tuple[int, ...]:
    if isinstance(tiling, ExtentTiling):
        return tuple(a.size for a in tiling.axes)
    return (tiling.tokens.shape[1],)


def _of_strips(tiling: ExtentTiling, i: int) -> IntArray:
    """The coordinates of one axis in every tile ``[tiles, slots of the axis]``; of padding, any."""
    strip = np.unravel_index(np.arange(tiling.tiles), tuple(a.strips for a in tiling.axes))[i]
    return np.maximum(tiling.axes[i].positions, 0)[strip] + tiling.extent.origin[i]


def axis_leaf(
    q: dict[str, IntArray],
    k: dict[str, IntArray],
    tokens: Callable[[e.TokenInput], Any],
    known: Known,
) -> Callable[[Expr], Any]:
    """Leaves over coordinate arrays that already broadcast against each other."""

    def leaf(x: Expr) -> Any:
        match x:
            case e.Coord(side=side, axis=axis):
                return (q if side is Side.Q else k)[axis]
            case e.TokenInput():
                return tokens(x)
            case e.Table(name=name):
                return read_table(known.tables[name], [evaluate(i, leaf) for i in x.indices])
            case _:
                raise AssertionError(f"{x} has no value here")

    return leaf
