"""Sets of keys as lists that kernels walk, made on the device without waiting for it.

A set says which blocks of keys, or which keys, each granule of queries attends: often one query's
own. Its lists hold, for every granule of one side, the granules of the other: a step of a walk is
as many of those as fill it, so that small blocks and single queries fill whole steps. Who is listed
is a member, so kernels ask the rest of the condition alone.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch

from attnlang.backends.blocked.sets import SetRead, condition_set, fits, may_and_must, members
from attnlang.backends.call import Call
from attnlang.backends.triton.choices import LARGEST_TILE, tile_block
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.cost import SMALLEST_TILE, TENSOR_CORES, cost
from attnlang.compiler.problem.problem import BoundAttend, Problem

MOST_PAIRS = 1 << 26
"""Pairs of granules, over the sets of heads, that the device may hold lists of."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Row ``r`` lists granules ``list[i]``, ``offsets[r] <= i < offsets[r + 1]``: int32, and int64
    where they begin, as a million rows may have thousands each."""

    offsets: torch.Tensor
    list: torch.Tensor


@dataclass(frozen=True, slots=True)
class ListWalk:
    """rows: granules of the side that stands, for each set of heads. grain_tokens: places of the
    tokens of the other side's granules ``[granules, grain]``, -1 for padding."""

    rows: int
    partial: Lists
    full: Lists
    grain_tokens: torch.Tensor
    grain: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What no set decides. tokens: of each side's granules ``[granules, grain]``, -1 for padding.
    may, must: does the rest of the condition leave a pair of granules anything, everything? None
    where the set itself comes as lists, whose members are then asked pair by pair."""

    made: SetRead
    tokens: dict[Side, torch.Tensor]
    may: torch.Tensor | None = None
    must: torch.Tensor | None = None

    @property
    def sizes(self) -> dict[Side, int]:
        """Tokens of a granule."""
        return {side: x.shape[1] for side, x in self.tokens.items()}


_prepared: weakref.WeakKeyDictionary[Problem, dict[object, Prepared | None]] = (
    weakref.WeakKeyDictionary()
)  # fmt: skip


def prepared(call: Call) -> Prepared | None:
    """For a call whose condition reads one set; None for any other, and for too many granules."""
    known = _prepared.setdefault(call.problem, {})
    key = (call.q.device, frozenset(call.inputs.tables), frozenset(call.inputs.lists))
    if key not in known:
        known[key] = _prepare(call)
    return known[key]


def _prepare(call: Call) -> Prepared | None:
    made = condition_set(call)
    if made is None or _edited(made.table, call.problem.groups[0].attend):
        return None
    sets = call.inputs.lists.get(made.table)
    most = sets.index.shape[3] if sets is not None and fits(made, sets) else None
    large = _sets(made, call.problem) * len(made.q.tokens) * len(made.k.tokens) > MOST_PAIRS
    pays = most is not None if large else _pays(made, call.problem, most)
    if not pays:
        return None
    sides = {Side.Q: made.q, Side.K: made.k}
    tokens = {side: _int32(x.tokens, call.q.device) for side, x in sides.items()}
    if most is not None:
        return Prepared(made, tokens)
    may, must = (x.to(call.q.device) for x in may_and_must(made, call.problem))
    return Prepared(made, tokens, may, must)


def _pays(made: SetRead, problem: Problem, most: int | None) -> bool:
    """Do tiles of listed keys cost less than tiles of all keys? most: keys that a query has, if
    that is known.

    Blocks of keys always do: queries that stand beside one another choose unlike ones. Of single
    keys a table says nothing, so the tiles of queries must at least be full.
    """
    if made.k.tokens.shape[1] > 1:
        return True
    together = 1 if made.heads == "head" else problem.heads // problem.kv_heads
    rows: int = made.q.tokens.shape[1] * together
    if most is None:
        return rows >= SMALLEST_TILE
    block = min(tile_block(rows), LARGEST_TILE)
    return cost(most * -(-rows // block), block, 1, TENSOR_CORES) <= rows * problem.k_len


def _edited(table: str, attend: BoundAttend) -> bool:
    """Does anything but the condition read a set?"""
    roots = (attend.score, attend.scale, attend.gain, attend.sink)
    return any(
        isinstance(x, e.Table) and x.name == table
        for root in roots
        if root is not None
        for x in walk(root)
    )


def _sets(made: SetRead, problem: Problem) -> int:
    return {"head": problem.heads, "kv_head": problem.kv_heads, "all": 1}[made.heads]


def walks(call: Call, one: Prepared) -> tuple[torch.Tensor, ListWalk, ListWalk]:
    """The class of every head, and the walks of queries and of keys, of a call of one batch
    element."""
    problem, made = call.problem, one.made
    q, k = one.tokens[Side.Q], one.tokens[Side.K]
    sets = _sets(made, problem)
    heads = torch.arange(problem.heads, dtype=torch.int32, device=q.device)
    if one.may is None or one.must is None:
        index = call.inputs.lists[made.table].index[0]
        none = Lists(index.new_zeros(sets * max(len(q), len(k)) + 1), index.new_zeros(1))
        both = _of_members(index, len(k))
        asked = made.rest != e.TRUE
        by_query, by_key = (
            {"partial": x if asked else none, "full": none if asked else x} for x in both
        )
    else:
        inside = members(made, call.inputs.tables[made.table], 1, 1)[0]
        kinds = {"partial": inside & one.may & ~one.must, "full": inside & one.must}
        by_query = {kind: _lists(x) for kind, x in kinds.items()}
        by_key = {kind: _lists(x.transpose(1, 2)) for kind, x in kinds.items()}
    return (
        heads // (problem.heads // sets),
        ListWalk(len(q), by_query["partial"], by_query["full"], k, k.shape[1]),
        ListWalk(len(k), by_key["partial"], by_key["full"], q, q.shape[1]),
    )


def _of_members(index: torch.Tensor, columns: int) -> tuple[Lists, Lists]:
    """The members of every row, and the rows of every member: int32 ``[sets, rows, most]``, from
    the first on, then -1."""
    sets, rows, most = index.shape
    there = (index >= 0).reshape(-1)
    offsets = _offsets((index >= 0).flatten(0, 1).sum(1))
    at = torch.where(there, there.cumsum(0) - 1, len(there))
    by_row = index.new_zeros(len(there) + 1).scatter_(0, at, index.reshape(-1))
    # What is no member belongs to a column behind the last, which nobody reads.
    of = torch.arange(sets, device=index.device)[:, None, None] * columns
    column = torch.where(index >= 0, index + of, sets * columns).reshape(-1)
    order = column.sort(stable=True).indices
    row = (order // max(most, 1) % max(rows, 1)).to(torch.int32)
    counts = column.new_zeros(sets * columns + 1).scatter_add_(0, column, torch.ones_like(column))
    more = row.new_zeros(1)
    return Lists(offsets, by_row), Lists(_offsets(counts[:-1]), torch.cat((row, more)))


def _offsets(counts: torch.Tensor) -> torch.Tensor:
    """Where the entries of every row begin, and where the last end."""
    ends = counts.cumsum(0, dtype=torch.int64)
    return torch.cat((ends.new_zeros(1), ends))


def _lists(chosen: torch.Tensor) -> Lists:
    """The true columns of bool ``[sets, rows, columns]``, row after row."""
    columns = chosen.shape[2]
    flat = chosen.reshape(-1)
    offsets = _offsets(chosen.flatten(0, 1).sum(1))
    place = torch.arange(len(flat), dtype=torch.int32, device=flat.device) % max(columns, 1)
    # What is not chosen is written to one slot more, which nobody reads.
    at = torch.where(flat, flat.cumsum(0) - 1, len(flat))
    found = place.new_zeros(len(flat) + 1).scatter_(0, at, place)
    return Lists(offsets, found)


def _int32(x: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.int32, device=device)
