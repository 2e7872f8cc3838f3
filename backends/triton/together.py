"""Whether the query heads of a key head stand together in one tile: rows are (token, head).

Keys are then read once for them all, and a tile of as many rows spans fewer tokens, so that it
visits fewer keys which only some of its rows attend. Which keys a tile visits must not depend on
the head; scores, gains and sinks may: they are worked out row by row.

Long dense rows gain nothing by it: a tile visits about as many keys as before, and queries are not
read by descriptors. So the cost model of plans decides: heads stand together where that saves a
tenth of the cost.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.choices import LARGEST_TILE, padded
from attnlang.backends.triton.closed import Interval
from attnlang.backends.triton.launch import number_of
from attnlang.backends.triton.widths import closed_sides, intervals_of
from attnlang.compiler.analysis.normal import reads
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.layout.cost import TENSOR_CORES, cost
from attnlang.compiler.problem.problem import BoundGroup, Problem

STEP = 64
"""Keys of a step, as the first choices have it."""
SAMPLES = 256
"""Tiles that are asked, evenly spread."""
WORTH = 0.9
"""Of the cost apart: what walks together may cost at most."""

_made: weakref.WeakKeyDictionary[Problem, dict[int, bool]] = weakref.WeakKeyDictionary()


def stands_apart(problem: Problem, group: BoundGroup) -> bool:
    """Must the query heads of a key head stand in tiles of their own? Where they attend unlike
    keys, and where something of each key differs by head: a tile would read it pair by pair."""
    shared = problem.heads // problem.kv_heads
    if group.start % shared or group.stop % shared:
        return True
    inputs = frozenset(i.name for i in problem.pattern.inputs if "head" in i.dims and i.sides)
    # As kernels have it: for any lengths, at some of which a head makes no difference.
    attend = closed_groups(problem.pattern)[group.index].attend
    if any(_by_head(x, inputs) for x in walk(attend.where)):
        return True
    edits = (x for x in (attend.score, attend.scale, attend.gain) if x is not None)
    return any(_keys_by_head(x, inputs) for root in edits for x in walk(root))


def _by_head(x: Expr, inputs: frozenset[str]) -> bool:
    if isinstance(x, e.Symbol):
        return x.name is SymbolName.HEAD
    return isinstance(x, e.TokenInput) and x.name in inputs


def _keys_by_head(x: Expr, inputs: frozenset[str]) -> bool:
    """Does a read choose its entry by the key and the head alone?"""
    if isinstance(x, e.TokenInput):
        return x.side is Side.K and _by_head(x, inputs)
    if not isinstance(x, e.Table):
        return False
    by_head = any(_by_head(n, inputs) for i in x.indices for n in walk(i))
    by_query, by_key = (any(reads(i, side) for i in x.indices) for side in Side)
    return by_head and by_key and not by_query


def stand_together(problem: Problem, group: BoundGroup) -> bool:
    """Do they, in walks that the kernels work out?"""
    by_group = _made.setdefault(problem, {})
    if group.index not in by_group:
        by_group[group.index] = _pays(problem, group)
    return by_group[group.index]


def _pays(problem: Problem, group: BoundGroup) -> bool:
    shared = problem.heads // problem.kv_heads
    if shared == 1 or stands_apart(problem, group) or not problem.q_len:
        return False
    if Side.Q not in closed_sides(problem, group):
        return False
    found = intervals_of(problem, group, Side.Q)
    assert found is not None
    if any(isinstance(x, e.TokenInput | e.Table) for i in found for y in i.parts for x in walk(y)):
        return False  # what only the call knows is not weighed
    return _cost(problem, found, shared) <= WORTH * shared * _cost(problem, found, 1)


def _cost(problem: Problem, found: tuple[Interval, ...], heads: int) -> float:
    """Of the walks of so many heads together."""
    rows = min(LARGEST_TILE, padded(problem.q_len * heads))
    tokens = max(1, rows // heads)
    tiles = -(-problem.q_len // tokens)
    sample = np.unique(np.linspace(0, tiles - 1, SAMPLES).astype(np.int64))
    places = np.minimum(sample[:, None] * tokens + np.arange(tokens), problem.q_len - 1)
    steps = sum(_steps(problem, one, places) for one in found)
    return cost(tiles * steps * max(1, heads * tokens / rows), rows, STEP, TENSOR_CORES)


def _steps(problem: Problem, one: Interval, places: np.ndarray) -> float:
    """Steps that a tile visits in an interval, on average. places: of the tiles' tokens."""

    def leaf(x: Expr) -> Any:
        match x:
            case e.Coord():
                return places + number_of(a.Origin(Side.Q), problem)
            case e.Index():
                return places
            case e.Length(side=side, axis=axis):
                return number_of(a.AxisLength(side, axis), problem)
            case e.Symbol(name=SymbolName.KV_HEAD):
                return 0
            case e.Symbol(name=name):
                return number_of(a.Count(name), problem)
            case _:
                raise AssertionError(f"{x} has no value here")

    keys = problem.k_len
    low = np.clip(0 if one.lower is None else evaluate(one.lower, leaf), 0, keys)
    high = np.clip(keys if one.upper is None else evaluate(one.upper, leaf), 0, keys)
    live = np.asarray(evaluate(one.condition, leaf))
    low, high = (np.broadcast_to(x, places.shape) for x in (low, high))
    first = np.where(live, low, keys).min(1)
    last = np.where(live, high, 0).max(1)
    return float((-(-np.maximum(last - first, 0) // STEP)).mean())
