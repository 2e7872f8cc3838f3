"""Conditions that read a set of key blocks: ``chosen[head, q.n, k.n // block] and causal(n)``.

Such a set is known only when it is filled, and every query has its own. Instead of a plan, the
pairs of (granule of queries, block of keys) in the set are listed, and attended block by block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attnlang.backends.call import Call
from attnlang.backends.listed import Listed
from attnlang.compiler.analysis.boxes import ARRAYS
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.intervals import Intervals, Range
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.problem import Extent, Problem

FROM_FIRST = -1
"""In place of a size: single tokens, counted from the first that is there."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Granules:
    """Runs of tokens that a set does not tell apart, row by row over the axes.

    tokens: places in the sequence ``[granules, capacity]``, -1 for padding.
    first, last: the coordinates of their tokens on each axis ``[granules]``. shape: how many
    granules the axes have.
    """

    tokens: Ints
    first: tuple[Ints, ...]
    last: tuple[Ints, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetRead:
    """heads: one set for every "head", every "kv_head", or "all" of them. dims: for each dimension
    of the table behind the head, the side and axis it counts. rest: the other conditions."""

    table: str
    heads: str
    dims: tuple[tuple[Side, int], ...]
    rest: Expr
    q: Granules
    k: Granules


def set_read(call: Call) -> SetRead | None:
    """The one set that the condition of a plain softmax reads; None for all else."""
    if len(call.problem.groups) != 1:
        return None
    attend = call.problem.groups[0].attend
    if (attend.score, attend.sink, attend.gain) != (None, None, None):
        return None
    if attend.empty is not EmptyRule.ZERO:
        return None
    if attend.normaliser is not Normaliser.SOFTMAX:
        return None
    if attend.scale is not None and value_of(attend.scale) is None:
        return None
    return condition_set(call)


def condition_set(call: Call) -> SetRead | None:
    """The one set that the condition reads, where the rest is of places alone; None otherwise."""
    problem = call.problem
    if len(problem.groups) != 1 or len(problem.q) != 1 or len(problem.k) != 1:
        return None
    where = problem.groups[0].attend.where
    parts = where.operands if isinstance(where, e.And) else (where,)
    given = {*call.inputs.tables, *call.inputs.lists}
    reads = [x for x in parts if isinstance(x, e.Table) and x.name in given]
    if len(reads) != 1:
        return None
    rest = without(where, reads[0].name)
    if any(_varies(x) for x in walk(rest)):
        return None
    made = _matched(reads[0], rest, problem)
    return made if made is not None and _has_heads(made, call) else None


def without(where: Expr, table: str) -> Expr:
    """What a condition asks beside the set of that name."""
    parts = where.operands if isinstance(where, e.And) else (where,)
    others = tuple(x for x in parts if not (isinstance(x, e.Table) and x.name == table))
    return others[0] if len(others) == 1 else e.And(others) if others else e.TRUE


def _has_heads(made: SetRead, call: Call) -> bool:
    """Is there a set for every head that is named? Sets of heads may be read by key heads."""
    listed = call.inputs.lists.get(made.table)
    sets = call.inputs.tables[made.table] if listed is None else listed.index
    problem = call.problem
    return made.heads == "all" or sets.shape[1] == (
        problem.heads if made.heads == "head" else problem.kv_heads
    )


def _varies(x: Expr) -> bool:
    """Does a part depend on more than the places of query and key?"""
    if isinstance(x, e.Symbol):
        return True
    return isinstance(x, e.TokenInput | e.Table | e.InSegment)


def _matched(read: e.Table, rest: Expr, problem: Problem) -> SetRead | None:
    indices = list(read.indices)
    heads = "all"
    if indices and isinstance(indices[0], e.Symbol):
        names = {SymbolName.HEAD: "head", SymbolName.KV_HEAD: "kv_head"}
        heads = names.get(indices[0].name, "")
        indices = indices[1:]
    sizes: dict[tuple[Side, int], int] = {}
    for index in indices:
        found = _cut(index, problem)
        if found is None or found[0] in sizes:
            return None
        sizes[found[0]] = found[1]
    if not heads or not sizes:
        return None
    sides = []
    for side in (Side.Q, Side.K):
        extent = problem.extents(side)[0]
        sides.append(_granules(extent, [sizes.get((side, i), 0) for i in range(len(extent.axes))]))
    return SetRead(read.name, heads, tuple(sizes), rest, *sides)


def _cut(index: Expr, problem: Problem) -> tuple[tuple[Side, int], int] | None:
    """``k.n // 64``: the side, the axis and the size of its runs."""
    size = 1
    match index:
        case e.Arith(op="//", left=left, right=e.Int(value=c)) if c > 0:
            index, size = left, c
        case e.Arith(op="-", left=e.Coord(side=side, axis=axis), right=e.Int(value=c)):
            # Rows of a set for the queries of this call, of which the first has coordinate c.
            extent = problem.extents(side)[0]
            i = extent.axes.index(axis)
            return ((side, i), FROM_FIRST) if extent.origin[i] == c else None
        case _:
            pass
    match index:
        case e.Coord(side=side, axis=axis):
            return (side, problem.extents(side)[0].axes.index(axis)), size
        case e.Index(side=side) if len(problem.extents(side)[0].axes) == 1:
            extent = problem.extents(side)[0]
            return ((side, 0), size) if extent.origin[0] == 0 else None
        case _:
            return None


def _granules(extent: Extent, sizes: list[int]) -> Granules:
    """Granules of ``sizes`` along the axes, aligned to coordinate 0; 0 is the whole axis."""
    members: list[Ints] = []
    for length, origin, size in zip(extent.lengths, extent.origin, sizes, strict=True):
        places = np.arange(length)
        if size == FROM_FIRST:
            members.append(places[:, None])
            continue
        ids = (places + origin) // size if size else np.zeros(length, dtype=np.int64)
        count = int(ids.max()) + 1 if length else 0
        cap = size or length
        table = np.full((count, cap), -1, dtype=np.int64)
        within = (places + origin) % size if size else places
        table[ids, within] = places
        members.append(table)
    shape = tuple(len(m) for m in members)
    tokens = np.zeros((1, 1), dtype=np.int64)
    for table, length in zip(members, extent.lengths, strict=True):
        inside = (tokens[:, None, :, None] >= 0) & (table[None, :, None, :] >= 0)
        joined = tokens[:, None, :, None] * length + table[None, :, None, :]
        tokens = np.where(inside, joined, -1).reshape(len(tokens) * len(table), -1)
    first, last = [], []
    for i, (table, origin) in enumerate(zip(members, extent.origin, strict=True)):
        low = np.where(table >= 0, table, np.iinfo(np.int64).max).min(1) + origin
        high = table.max(1) + origin
        lay = [1] * len(shape)
        lay[i] = shape[i]
        first.append(np.broadcast_to(low.reshape(lay), shape).ravel())
        last.append(np.broadcast_to(high.reshape(lay), shape).ravel())
    return Granules(tokens, tuple(first), tuple(last), shape)


def may_and_must(
    made: SetRead, problem: Problem, pairs: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each pair of granules: may the rest of the condition hold somewhere, must it everywhere?
    bool ``[query granules, key granules]``, or of some ``pairs`` alone. Sound interval arithmetic.
    """
    at = (slice(None), None), (None, slice(None))
    if pairs is not None:
        at = tuple((x.cpu().numpy(),) for x in pairs)  # type: ignore[assignment]

    def leaf(x: Expr) -> Range:
        assert isinstance(x, e.Coord | e.Index)
        granules = made.q if x.side is Side.Q else made.k
        if isinstance(x, e.Coord):
            i = problem.extents(x.side)[0].axes.index(x.axis)
            low, high = granules.first[i], granules.last[i]
        else:
            tokens = granules.tokens
            low = np.where(tokens >= 0, tokens, np.iinfo(np.int64).max).min(1)
            high = tokens.max(1)
        lay = at[0] if x.side is Side.Q else at[1]
        return low[lay], high[lay]

    with np.errstate(all="ignore"):
        must, may = Intervals(ARRAYS, leaf).of(made.rest)
    shape: tuple[int, ...] = (math.prod(made.q.shape), math.prod(made.k.shape))
    if pairs is not None:
        shape = tuple(pairs[0].shape)
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(np.broadcast_to(np.asarray(x) > 0, shape).copy()) for x in (may, must)
    )


def fits(made: SetRead, sets: Listed) -> bool:
    """Do the places of a list count the granules of the read, in its order?"""
    order = [(Side.Q, i) for i in range(len(made.q.shape))]
    order += [(Side.K, i) for i in range(len(made.k.shape))]
    counts = dict(zip(order, (*made.q.shape, *made.k.shape), strict=True))
    lengths = (*sets.q_lengths, *sets.k_lengths)
    present = [d for d in order if d in made.dims]
    queries = sum(side is Side.Q for side, _ in present)
    return (
        list(made.dims) == present
        and queries == len(sets.q_lengths)
        and [counts[d] for d in present] == [*lengths]
    )


def members(made: SetRead, table: torch.Tensor, batch: int, kv_heads: int) -> torch.Tensor:
    """The set as bool ``[B, sets of heads, query granules, key granules]``."""
    x = table.to(torch.bool)
    if made.heads == "all":
        x = x[:, None].expand(-1, kv_heads, *(-1,) * (x.dim() - 1))
    x = x.expand(batch, *(-1,) * (x.dim() - 1))
    q_axes, k_axes = len(made.q.shape), len(made.k.shape)
    order = [(Side.Q, i) for i in range(q_axes)] + [(Side.K, i) for i in range(k_axes)]
    present = [made.dims.index(d) for d in order if d in made.dims]
    x = x.permute(0, 1, *(2 + i for i in present))
    counts = [*made.q.shape, *made.k.shape]
    for i, (dim, count) in enumerate(zip(order, counts, strict=True)):
        if dim not in made.dims:
            x = x.unsqueeze(2 + i)
        elif x.shape[2 + i] < count:  # read outside the table: false
            shape = list(x.shape)
            shape[2 + i] = count - x.shape[2 + i]
            x = torch.cat([x, x.new_zeros(shape)], 2 + i)
        else:
            x = x.narrow(2 + i, 0, count)
    return x.reshape(x.shape[0], x.shape[1], math.prod(made.q.shape), math.prod(made.k.shape))
