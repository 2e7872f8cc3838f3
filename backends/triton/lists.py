"""Sets of key blocks as lists that kernels walk, made on the device without waiting for it.

A set says which blocks of keys each granule of queries attends: often one query's own. Its tables
hold, for every granule of one side, the granules of the other: a step of a walk is as many of those
as fill it, so that small blocks and single queries fill whole steps.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch

from attnlang.backends.blocked.sets import Ints, SetRead, may_and_must, members, set_read
from attnlang.backends.call import Call
from attnlang.backends.triton.choices import LARGEST_TILE
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.layout.cost import slots
from attnlang.compiler.problem.problem import Problem

MOST_PAIRS = 1 << 26
"""Pairs of granules, over the sets of heads, that the device may hold lists of."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Row ``r`` lists granules ``list[i]``, ``offsets[r] <= i < offsets[r + 1]``."""

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
    """What no set decides. standing: tokens of each side's granules, padded to blocks; the queries'
    once for every head of those that stand together. may, must:
    does the rest of the condition leave a pair of granules anything, everything?"""

    made: SetRead
    blocks: dict[Side, int]
    standing: dict[Side, torch.Tensor]
    moving: dict[Side, torch.Tensor]
    may: torch.Tensor
    must: torch.Tensor


_prepared: weakref.WeakKeyDictionary[Problem, dict[object, Prepared | None]] = (
    weakref.WeakKeyDictionary()
)  # fmt: skip


def prepared(call: Call) -> Prepared | None:
    """For a call whose condition reads one set; None for any other, and for too many granules."""
    known = _prepared.setdefault(call.problem, {})
    key = (call.q.device, frozenset(call.inputs.tables))
    if key not in known:
        made = set_read(call)
        small = made is not None and _pairs(made, call.problem) <= MOST_PAIRS
        known[key] = _prepare(made, call) if made is not None and small else None
    return known[key]


def _pairs(made: SetRead, problem: Problem) -> int:
    return len(made.q.tokens) * len(made.k.tokens) * problem.heads


def _prepare(made: SetRead, call: Call) -> Prepared:
    device = call.q.device
    sides = {Side.Q: made.q, Side.K: made.k}
    # Heads of one set stand together, each token once for every head.
    together = 1 if made.heads == "head" else call.problem.heads // call.problem.kv_heads
    standing = {
        Side.Q: np.repeat(made.q.tokens, together, axis=1), Side.K: made.k.tokens
    }  # fmt: skip
    blocks = {side: _block(x.shape[1]) for side, x in standing.items()}
    may, must = (x.to(device) for x in may_and_must(made, call.problem))
    return Prepared(
        made,
        blocks,
        {side: _int32(_padded(x, blocks[side]), device) for side, x in standing.items()},
        {side: _int32(x.tokens, device) for side, x in sides.items()},
        may,
        must,
    )


def _block(capacity: int) -> int:
    """Slots of a standing tile: parts of it are powers of two."""
    if capacity <= LARGEST_TILE:
        return slots(capacity)
    return -(-capacity // LARGEST_TILE) * LARGEST_TILE


def _padded(tokens: Ints, block: int) -> Ints:
    extra = block - tokens.shape[1]
    return np.pad(tokens, ((0, 0), (0, extra)), constant_values=-1).ravel()


def walks(call: Call, one: Prepared) -> tuple[torch.Tensor, ListWalk, ListWalk]:
    """The class of every head, and the walks of queries and of keys, of a call of one batch
    element."""
    problem = call.problem
    table = call.inputs.tables[one.made.table]
    inside = members(one.made, table, 1, problem.kv_heads)[0]
    kinds = {"partial": inside & one.may & ~one.must, "full": inside & one.must}
    heads = torch.arange(problem.heads, dtype=torch.int32, device=inside.device)
    classes = heads // (problem.heads // len(inside))
    by_query = {kind: _lists(x) for kind, x in kinds.items()}
    by_key = {kind: _lists(x.transpose(1, 2)) for kind, x in kinds.items()}
    q, k = one.moving[Side.Q], one.moving[Side.K]
    return (
        classes,
        ListWalk(len(q), by_query["partial"], by_query["full"], k, k.shape[1]),
        ListWalk(len(k), by_key["partial"], by_key["full"], q, q.shape[1]),
    )


def _lists(chosen: torch.Tensor) -> Lists:
    """The true columns of bool ``[sets, rows, columns]``, row after row."""
    columns = chosen.shape[2]
    flat = chosen.reshape(-1)
    counts = chosen.flatten(0, 1).sum(1, dtype=torch.int32).cumsum(0, dtype=torch.int32)
    offsets = torch.cat((counts.new_zeros(1), counts))
    place = torch.arange(len(flat), dtype=torch.int32, device=flat.device) % max(columns, 1)
    # What is not chosen is written to one slot more, which nobody reads.
    at = torch.where(flat, flat.cumsum(0) - 1, len(flat))
    found = offsets.new_zeros(len(flat) + 1).scatter_(0, at, place)
    return Lists(offsets, found)


def _int32(x: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.int32, device=device)
