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
from attnlang.compiler.layout.tiling import coordinates
from attnlang.compiler.problem.problem import Extent

IntArray = NDArray[np.int64]
CHUNK = 1 << 18
"""Elements evaluated at once: every part of a predicate is held for so many."""


class Tokens(Protocol):
    """Places in the sequence ``[tiles, slots]`` of one segment; -1 is padding."""

    @property
    def extent(self) -> Extent: ...

    @property
    def tokens(self) -> IntArray: ...


class Elements:
    """The pairs of two tiled segments."""

    def __init__(self, q: Tokens, k: Tokens, known: Known) -> None:
        self.q, self.k, self.known = q, k, known
        self._slots: dict[tuple[Side, str], IntArray] = {}

    def evaluate(self, root: Expr, rows: IntArray, columns: IntArray) -> NDArray[Any]:
        """Values ``[pairs, q slots, k slots]`` on tile pairs; padding holds anything."""

        def leaf(x: Expr) -> Any:
            match x:
                case e.Coord(side=side, axis=axis):
                    return self._take(side, self._coordinate(side, axis), rows, columns)
                case e.Index(side=side):
                    return self._take(side, self._tiling(side).tokens, rows, columns)
                case e.TokenInput(side=side, name=name):
                    values = self.known.tokens[name, side]
                    places = np.maximum(
                        self._tiling(side).tokens - self._tiling(side).extent.start, 0
                    )
                    return self._take(side, values[places], rows, columns)
                case e.Table(name=name):
                    indices = [evaluate(i, leaf) for i in x.indices]
                    return read_table(self.known.tables[name], indices)
                case _:
                    raise AssertionError(f"{x} has no value here")

        shape = (len(rows), self.q.tokens.shape[1], self.k.tokens.shape[1])
        return np.broadcast_to(np.asarray(evaluate(root, leaf)), shape)

    def real(self, rows: IntArray, columns: IntArray) -> NDArray[np.bool_]:
        """Which slots hold a pair of tokens: not padding."""
        return (self.q.tokens[rows] >= 0)[:, :, None] & (self.k.tokens[columns] >= 0)[:, None, :]

    def masks(
        self, root: Expr, rows: IntArray, columns: IntArray
    ) -> Iterator[tuple[slice, NDArray[np.bool_], NDArray[np.bool_]]]:
        """Chunk by chunk: which pairs of tiles, the predicate on them, and what is real."""
        area = self.q.tokens.shape[1] * self.k.tokens.shape[1]
        step = max(1, CHUNK // area)
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
        found = self._slots.get((side, axis))
        if found is None:
            found = self._slots[side, axis] = coordinates(
                self._tiling(side).extent, self._tiling(side).tokens, axis
            )
        return found

    @staticmethod
    def _take(side: Side, table: NDArray[Any], rows: IntArray, columns: IntArray) -> NDArray[Any]:
        return table[rows][:, :, None] if side is Side.Q else table[columns][:, None, :]


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
