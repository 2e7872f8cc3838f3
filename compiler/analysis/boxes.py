"""Interval arithmetic on whole tiles: sound for all predicates, silent where it cannot decide."""

from __future__ import annotations

import math
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
)


def may_and_must(
    predicate: Expr, q: ExtentTiling, k: ExtentTiling, known: Known
) -> tuple[BoolArray, BoolArray]:
    """For each tile pair ``[q tiles, k tiles]``: may any element hold, must all of them?"""

    def leaf(x: Expr) -> Range:
        match x:
            case e.Coord(side=side, axis=axis):
                tiling = q if side is Side.Q else k
                i = tiling.extent.axes.index(axis)
                strips = tiling.axes[i]
                first = strips.starts + tiling.extent.origin[i]
                last = first + (strips.counts - 1) * strips.steps
                return _of_tiles(first, tiling, i, side), _of_tiles(last, tiling, i, side)
            case e.Index(side=side):
                tiling = q if side is Side.Q else k
                tokens = tiling.tokens
                low = np.where(tokens >= 0, tokens, MAX_INTEGER).min(axis=1)
                return _lay(low, side), _lay(tokens.max(axis=1), side)
            case e.TokenInput(side=side, name=name) if (name, side) in known.tokens:
                tiling = q if side is Side.Q else k
                return _extremes(known.tokens[name, side], tiling, side)
            case e.Table(name=name, indices=indices) if name in known.tables:
                values = known.tables[name]
                if not indices:
                    return values, values
                low = min(0, values.min()) if values.size else 0
                return low, (max(0, values.max()) if values.size else 0)
            case _:
                return _unknown(kind_of(x))

    with np.errstate(all="ignore"):  # infinite bounds meet 0 and each other: NaN, unknown
        must, may = Intervals(ARRAYS, leaf).of(predicate)
    shape = (q.tiles, k.tiles)
    return np.broadcast_to(np.asarray(may) > 0, shape), np.broadcast_to(np.asarray(must) > 0, shape)


def _unknown(kind: Kind) -> Range:
    match kind:
        case Kind.BOOL:
            return 0, 1
        case Kind.INT:
            return -MAX_INTEGER, MAX_INTEGER
        case Kind.FLOAT:
            return -math.inf, math.inf


def _of_tiles(
    per_strip: NDArray[np.int64], tiling: ExtentTiling, axis: int, side: Side
) -> NDArray[np.int64]:
    shape = [1] * len(tiling.axes)
    shape[axis] = len(per_strip)
    whole = np.broadcast_to(per_strip.reshape(shape), tuple(a.strips for a in tiling.axes)).ravel()
    return _lay(whole, side)


def _lay(values: NDArray[Any], side: Side) -> NDArray[Any]:
    return values[:, None] if side is Side.Q else values[None, :]


def _extremes(values: NDArray[Any], tiling: ExtentTiling, side: Side) -> Range:
    places = tiling.tokens - tiling.extent.start
    # Padding repeats the tile's first token, which changes neither extreme.
    places = np.where(tiling.tokens >= 0, places, places[:, :1])
    spread = values[places]
    if spread.dtype == bool:
        spread = spread.astype(np.int8)
    return _lay(spread.min(axis=1), side), _lay(spread.max(axis=1), side)
