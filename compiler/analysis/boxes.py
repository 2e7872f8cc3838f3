"""Interval arithmetic on whole tiles: sound for all predicates, silent where it cannot decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import NUMPY
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.intervals import Intervals, Ops, Range
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.syntax.limits import MAX_INTEGER

BoolArray = NDArray[np.bool_]


def _function(name: str, x: Any) -> Any:
    if name == "float":
        return x
    if name == "int":
        return NUMPY.to_int(x)
    x = np.asarray(x)
    y = NUMPY.functions[name](x)
    # log and sqrt take NaN for a number out of their domain; as a bound it says: unknown.
    return np.where(np.isnan(x), x, y) if name in ("log", "log2", "sqrt") else y


def _truth(x: Any) -> Any:
    return int(x) if isinstance(x, bool) else x.astype(np.int8)


ARRAYS = Ops(
    minimum=np.minimum,
    maximum=np.maximum,
    where=np.where,
    function=_function,
    truth=_truth,
    some=lambda x: bool(np.any(x)),
    surely=lambda x: bool(np.all(x)),
)


def may_and_must(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[BoolArray, BoolArray]:
    """For each tile pair ``[q tiles, k tiles]``: may any element hold, must all of them?

    What is worked out has a dimension for each axis of either side, of length 1 where it does not
    depend on it: most of a predicate is as small as the axes it reads.
    """
    shapes = {Side.Q: tuple(a.strips for a in q.axes), Side.K: tuple(a.strips for a in k.axes)}

    def lay(values: NDArray[Any], side: Side, axis: int | None = None) -> NDArray[Any]:
        own = shapes[side]
        if axis is not None:
            own = tuple(n if i == axis else 1 for i, n in enumerate(own))
        here, there = (1,) * len(shapes[Side.Q]), (1,) * len(shapes[Side.K])
        return values.reshape((*own, *there) if side is Side.Q else (*here, *own))

    def leaf(x: Expr) -> Range:
        match x:
            case e.Coord(side=side, axis=axis):
                tiling = q if side is Side.Q else k
                i = tiling.extent.axes.index(axis)
                strips = tiling.axes[i]
                first = strips.starts + tiling.extent.origin[i]
                last = first + (strips.counts - 1) * strips.steps
                return lay(first, side, i), lay(last, side, i)
            case e.Index(side=side):
                tokens = (q if side is Side.Q else k).tokens
                low = np.where(tokens >= 0, tokens, MAX_INTEGER).min(axis=1)
                return lay(low, side), lay(tokens.max(axis=1), side)
            case e.TokenInput(side=side, name=name) if (name, side) in known.tokens:
                low, high = extremes(known.tokens[name, side], q if side is Side.Q else k)
                return lay(low, side), lay(high, side)
            case _:
                return elsewhere(x, known)

    whole = shapes[Side.Q] + shapes[Side.K]
    may, must = (x.reshape(q.tiles, k.tiles) for x in truth(predicate, leaf, whole))
    return may, must


def truth(
    predicate: Expr, leaf: Callable[[Expr], Range], shape: tuple[int, ...]
) -> tuple[BoolArray, BoolArray]:
    """May the predicate hold, and must it, where its leaves lie between the bounds given, which
    broadcast to ``shape``?"""
    with np.errstate(all="ignore"):  # infinite bounds meet 0 and each other: NaN, unknown
        must, may = Intervals(ARRAYS, leaf).of(predicate)
    return np.broadcast_to(np.asarray(may) > 0, shape), np.broadcast_to(np.asarray(must) > 0, shape)


def elsewhere(x: Expr, known: Known) -> Range:
    """The bounds of a leaf that no token has: of all entries of a table, of all there is where it
    is not known."""
    match x:
        case e.Table(name=name, indices=indices) if name in known.tables:
            values = known.tables[name]
            if not indices:
                return values, values
            low = min(0, values.min()) if values.size else 0
            return low, (max(0, values.max()) if values.size else 0)
        case _:
            return _unknown(kind_of(x))


def _unknown(kind: Kind) -> Range:
    match kind:
        case Kind.BOOL:
            return 0, 1
        case Kind.INT:
            return -MAX_INTEGER, MAX_INTEGER
        case Kind.FLOAT:
            return -math.inf, math.inf


def extremes(values: NDArray[Any], tiling: ExtentTiling) -> tuple[NDArray[Any], NDArray[Any]]:
    """The least and greatest value of every tile's tokens."""
    places = tiling.tokens - tiling.extent.start
    # Padding repeats the tile's first token, which changes neither extreme.
    places = np.where(tiling.tokens >= 0, places, places[:, :1])
    spread = values[places]
    if spread.dtype == bool:
        spread = spread.astype(np.int8)
    return spread.min(axis=1), spread.max(axis=1)
