"""Sorted token inputs: comparing a key's value with the query's is a bound on the key's place.

Document ids that never decrease make ``k.doc == q.doc`` the interval between two binary
searches, and both of its ends never decrease with the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.monotone import NOWHERE_AXIS
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.simplify import MIRRORED
from attnlang.compiler.layout.tiling import ExtentTiling

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SortedEdge:
    """Where the query's value would stand among the keys' sorted values.

    stand_in: an expression that proofs may use in its place. When queries and keys are the same
    tokens, a left edge is at most the query's own place and a right edge is beyond it.
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    edge: Literal["left", "right"]
    origin: int
    stand_in: Expr

    def at(self, places: IntArray) -> IntArray:
        """The bound, as a key coordinate, for queries at these places of their segment."""
        values = self.values[places]
        new = np.ones(len(values), dtype=bool)
        new[1:] = values[1:] != values[:-1]
        first = np.flatnonzero(new)  # neighbours are alike: a document is looked for once
        found = np.searchsorted(self.keys, values[first], self.edge).astype(np.int64)
        return np.repeat(found + self.origin, np.diff(np.append(first, len(values))))


def sorted_edges(
    literal: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[list[SortedEdge], list[SortedEdge]] | None:
    """Lower and upper bounds equivalent to a comparison of sorted inputs, or None."""
    match literal:
        case e.Compare(
            left=e.TokenInput(side=Side.K) as key, right=e.TokenInput(side=Side.Q) as query, op=op
        ):
            pass
        case e.Compare(
            left=e.TokenInput(side=Side.Q) as query, right=e.TokenInput(side=Side.K) as key, op=op
        ):
            op = MIRRORED[op]
        case _:
            return None
    if not {key.name, query.name} <= known.sorted or op == "!=":
        return None
    keys, values = known.tokens[key.name, Side.K], known.tokens[query.name, Side.Q]
    same = q.extent.origin == k.extent.origin and np.array_equal(keys, values)
    here = e.Coord(Side.Q, q.extent.axes[0])
    unknown = e.Coord(Side.Q, NOWHERE_AXIS)
    left_stand_in: Expr = here if same else unknown
    right_stand_in: Expr = e.Arith("+", here, e.Int(1)) if same else unknown
    origin = k.extent.origin[0]
    left = SortedEdge(keys, values, "left", origin, left_stand_in)
    right = SortedEdge(keys, values, "right", origin, right_stand_in)
    match op:
        case "==":
            return [left], [right]
        case "<":
            return [], [left]
        case "<=":
            return [], [right]
        case ">":
            return [right], []
        case _:
            return [left], []
