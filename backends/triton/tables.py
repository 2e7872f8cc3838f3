"""A plan as the small integer tensors that kernels walk."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from attnlang.backends.call import Call
from attnlang.backends.triton.boxes import BoxWalk, box_walk
from attnlang.backends.triton.choices import LARGEST_TILE, tile_block
from attnlang.backends.triton.form import WIDE_ROWS, Tiles
from attnlang.backends.triton.lists import ListWalk, Prepared, walks
from attnlang.backends.triton.steps import by_row
from attnlang.backends.triton.strips import Strips, strips_of
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.layout.cost import TENSOR_CORES, slots
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.plan.table import IntArray, RunTable
from attnlang.compiler.problem.problem import Problem

RISES = 1.25
"""How much more the last eighth of tiles visits where they are begun with."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Run ``i`` of row ``r``, ``offsets[r] <= i < offsets[r + 1]``, is tiles ``starts[i] <= t <
    stops[i]``. Rows of one class of heads after those of another. steps: tiles of each row."""

    offsets: torch.Tensor
    starts: torch.Tensor
    stops: torch.Tensor
    steps: torch.Tensor


@dataclass(frozen=True, slots=True)
class Walk:
    """One direction of a plan: ``rows`` tiles of the side that stands, for each class of heads."""

    rows: int
    partial: Runs
    full: Runs


@dataclass(frozen=True, slots=True)
class Tables:
    """blocks: slots of a tile of each side; of a granule, where walks go over lists. tokens:
    ``[tiles * block]`` sequence places, -1 for padding, of a side whose tiles are not just its
    tokens in order. strips: of those sides where tiles are products of them. heads: whose plan it
    is. classes: of each head. tile_tokens: of a tile of queries. together: how many heads stand in
    one, if they can: those of a key head where they fill it better, else 1. rising: standing sides
    whose last tiles visit more than the first."""

    heads: tuple[int, ...]
    blocks: dict[Side, int]
    tokens: dict[Side, torch.Tensor]
    classes: torch.Tensor
    by_query: Walk | BoxWalk | ListWalk
    by_key: Walk | ListWalk
    strips: Mapping[Side, Strips] = field(default_factory=dict)
    tile_tokens: int = 0
    together: int = 1
    rising: frozenset[Side] = frozenset()

    @property
    def boxed(self) -> BoxWalk | None:
        """The walk of queries, if it goes over boxes of keys."""
        return self.by_query if isinstance(self.by_query, BoxWalk) else None

    def tile(self, stands_on_keys: bool) -> tuple[int, ...]:
        """Extents of the tiles that a walk visits; empty where they differ or are not known."""
        if self.boxed is not None and not stands_on_keys:
            return self.boxed.tile
        strips = self.strips.get(Side.Q if stands_on_keys else Side.K)
        return () if strips is None else strips.tile

    def tiles(self, listed: str | None = None) -> Tiles:
        """How they give tiles. listed: the set whose lists they are."""
        alike = self.boxed is not None and self.boxed.alike
        large = self.blocks[Side.Q] * self.together >= WIDE_ROWS
        sides = frozenset(self.tokens), frozenset(self.strips)
        boxed, together = self.boxed is not None, self.together > 1
        return Tiles(*sides, boxed, alike, listed, large, together, self.rising)

    @property
    def solid(self) -> frozenset[Side]:
        """The sides of whose grid a step of a walk is a box of neighbours."""
        found = {side for side, strips in self.strips.items() if strips.solid}
        if self.boxed is not None:
            found = found - {Side.K} | ({Side.K} if self.boxed.solid else set())
        return frozenset(found)

    @property
    def listed(self) -> bool:
        """Do walks go over lists of granules?"""
        return isinstance(self.by_query, ListWalk)


_made: weakref.WeakKeyDictionary[Problem, dict[torch.device, tuple[Tables, ...]]] = (
    weakref.WeakKeyDictionary()
)


def kept(problem: Problem, device: torch.device) -> tuple[Tables, ...]:
    """The tables of a problem that no run-time tensor decides, made once for each device."""
    from attnlang.compiler.plan.make import make

    by_device = _made.setdefault(problem, {})
    if device not in by_device:
        by_device[device] = tables_of_parts(make(problem), device)
    return by_device[device]


def tables_of_parts(plan: Plan, device: torch.device) -> tuple[Tables, ...]:
    """The tables of a plan, for heads of each layout."""
    return tuple(build(part, device) for part in plan.parts)


def build(plan: Plan, device: torch.device) -> Tables:
    """The tables of a plan of one layout."""
    sides = {Side.Q: plan.layout.q, Side.K: plan.layout.k}
    blocks = {side: slots(tiling.capacity) for side, tiling in sides.items()}
    tokens = {
        side: _int32(_padded(tiling, blocks[side]), device)
        for side, tiling in sides.items()
        if not in_order(tiling, blocks[side])
    }
    classes = np.zeros(plan.problem.heads, dtype=np.int64)
    for i, group in enumerate(plan.heads):
        classes[list(group.heads)] = i
    boxes = [g.boxes for g in plan.heads if g.boxes is not None]
    ragged = plan.layout.k.counts < blocks[Side.K]
    one = plan.layout.q.tiles == 1
    tile_tokens = plan.layout.q.capacity if one else blocks[Side.Q]
    shared = plan.problem.heads // plan.problem.kv_heads
    return Tables(
        plan.all_heads,
        blocks,
        tokens,
        _int32(classes, device),
        box_walk(boxes, len(plan.problem.pattern.axes(Side.K)), device)
        if len(boxes) == len(plan.heads)
        else _walk([g.table for g in plan.heads], ragged, device),
        _walk([g.columns for g in plan.heads], np.zeros(plan.layout.q.tiles, dtype=bool), device),
        strips(plan, device),
        tile_tokens,
        shared if _filled(tile_tokens * shared) >= _filled(tile_tokens) else 1,
        frozenset(side for side, visits in _visits(plan).items() if _rises(visits)),
    )


def _filled(rows: int) -> float:
    """How well a machine is used by tiles that hold so many rows."""
    block = tile_block(rows)
    return TENSOR_CORES.query[min(block, LARGEST_TILE)] * rows / block


def _visits(plan: Plan) -> dict[Side, IntArray]:
    """What each tile of the side that stands visits, of a head of every class."""
    tables = [g.columns for g in plan.heads]
    by_key = sum((x.live_per_row() for x in tables), np.zeros(plan.layout.k.tiles, np.int64))
    by_query = np.zeros(plan.layout.q.tiles, np.int64)
    for one in plan.heads:
        by_query = by_query + (one.table.live_per_row() if one.boxes is None else one.boxes.volumes)
    return {Side.Q: by_query, Side.K: by_key}


def _rises(visits: IntArray) -> bool:
    """Do the last tiles visit more than the first ones?"""
    part = -(-len(visits) // 8)
    return bool(visits[-part:].sum() > RISES * visits[:part].sum())


def of_set(call: Call, one: Prepared) -> Tables:
    """The tables of a call of one batch element whose condition reads a set."""
    classes, by_query, by_key = walks(call, one)
    return Tables(
        tuple(range(call.problem.heads)), one.sizes, one.tokens, classes, by_query, by_key
    )


def arrays(tables: Tables, by_key: bool) -> dict[str, torch.Tensor | int]:
    """What the kernels of one direction are given."""
    walk = tables.by_key if by_key else tables.by_query
    given: dict[str, torch.Tensor | int] = {"classes": tables.classes, "rows": walk.rows}
    for kind, runs in (("partial", walk.partial), ("full", walk.full)):
        for one in fields(runs):
            given[f"{kind}_{one.name}"] = getattr(runs, one.name)
    if isinstance(walk, ListWalk):
        standing = tables.blocks[Side.K if by_key else Side.Q]
        given |= {"grain_tokens": walk.grain_tokens, "GRAIN": walk.grain, "TILE": standing}
    given |= {f"strips_{side}": strips.numbers for side, strips in tables.strips.items()}
    return given | {f"tokens_{side}": tokens for side, tokens in tables.tokens.items()}


def in_order(tiling: SideTiling, block: int) -> bool:
    """Is slot ``i`` of tile ``t`` simply token ``t * block + i``?"""
    return tiling.row_major and (tiling.tiles == 1 or tiling.capacity == block)


def strips(plan: Plan, device: torch.device) -> dict[Side, Strips]:
    """Of the sides that are read through tables of places, those whose tiles are products."""
    found = {}
    for side, tiling in ((Side.Q, plan.layout.q), (Side.K, plan.layout.k)):
        block = slots(tiling.capacity)
        made = None if in_order(tiling, block) else strips_of(tiling, block, device)
        if made is not None:
            found[side] = made
    return found


def _padded(tiling: SideTiling, block: int) -> IntArray:
    extra = block - tiling.capacity
    return np.pad(tiling.tokens, ((0, 0), (0, extra)), constant_values=-1).ravel()


def _walk(tables: Sequence[RunTable], ragged: np.ndarray, device: torch.device) -> Walk:
    """Runs by kind. Full tiles that padding reaches into count as partial."""
    kinds: dict[bool, list[list[IntArray]]] = {True: [], False: []}
    for table in tables:
        starts, stops, full, rows = _cut(table, ragged)
        for kind, parts in kinds.items():
            chosen = full == kind
            counts = np.bincount(rows[chosen], minlength=table.rows)
            parts.append([counts, starts[chosen], stops[chosen]])
    made = {}
    for kind, parts in kinds.items():
        counts, starts, stops = (np.concatenate([p[i] for p in parts]) for i in range(3))
        offsets = np.concatenate(([0], np.cumsum(counts)))
        at, begin, end = (_int32(x, device) for x in (offsets, starts, stops))
        made[kind] = Runs(at, begin, end, by_row(at, end - begin))
    return Walk(tables[0].rows, made[False], made[True])


def _cut(table: RunTable, ragged: np.ndarray) -> tuple[IntArray, IntArray, np.ndarray, IntArray]:
    """The runs of a table; those full ones that hold ragged tiles are cut at them."""
    before = np.concatenate(([0], np.cumsum(ragged)))
    touched = table.full & (before[table.stops] > before[table.starts])
    if not touched.any():
        return table.starts, table.stops, table.full, table.row_of_run
    starts, stops, full, rows = [], [], [], []
    for i in range(len(table.starts)):
        a, b, row = int(table.starts[i]), int(table.stops[i]), int(table.row_of_run[i])
        if not touched[i]:
            pieces = [(a, b, bool(table.full[i]))]
        else:
            cuts = [a, *(t for t in range(a + 1, b) if ragged[t] != ragged[t - 1]), b]
            pieces = [(c, d, not ragged[c]) for c, d in itertools.pairwise(cuts)]
        for c, d, whole in pieces:
            starts.append(c)
            stops.append(d)
            full.append(whole)
            rows.append(row)
    return np.array(starts), np.array(stops), np.array(full, dtype=bool), np.array(rows)


def _int32(x: np.ndarray, device: torch.device) -> torch.Tensor:
    # A kernel is never given a null pointer: an empty table holds one entry that none reads.
    return torch.as_tensor(x if len(x) else np.zeros(1), dtype=torch.int32, device=device)
