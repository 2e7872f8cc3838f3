"""A plan made ready for one device: batches with their masks and index tensors."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from attnlang.backends.blocked.boxes import box_batches, in_tile_order
from attnlang.backends.blocked.masks import batch_mask
from attnlang.backends.blocked.schedule import Batch, Gather, schedule
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.layout.cost import BATCHED
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.problem import BoundAttend, Problem


@dataclass(frozen=True, slots=True)
class Step:
    """One batch: what it reads, and its mask ``[1 or rows, M, N]`` (None: every slot attends).

    unfed: rows ``[1 or rows, M]`` without a key here, padding among them; None when there are
    none. The mask shows them one key, for softmax to have something. dead: are real queries unfed?
    """

    batch: Batch
    rows: torch.Tensor | None
    columns: torch.Tensor | None
    mask: torch.Tensor | None
    unfed: torch.Tensor | None
    dead: bool

    def part(self, start: int, count: int) -> Step:
        """The rows ``start .. start + count - 1`` of this batch."""
        rows = slice(start, start + count)

        def cut(x: torch.Tensor | None) -> torch.Tensor | None:
            return x if x is None or (x.shape[0] == 1 and len(self.batch.rows) > 1) else x[rows]

        return Step(
            self.batch.part(start, count),
            cut(self.rows),
            cut(self.columns),
            cut(self.mask),
            cut(self.unfed),
            self.dead,
        )


@dataclass(frozen=True, slots=True)
class HeadProgram:
    """The steps of heads that attend alike. order: which step row each query tile's output is,
    None when steps are in tile order; empty: queries without any key, in sequence places."""

    heads: tuple[int, ...]
    attend: BoundAttend
    steps: tuple[Step, ...]
    order: torch.Tensor | None
    empty: torch.Tensor


@dataclass(frozen=True, slots=True)
class SideIndex:
    """How a side's tensor becomes tiles: padded at its end, or gathered."""

    tiles: int
    capacity: int
    pad: int
    gather: torch.Tensor | None
    inverse: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Program:
    plan: Plan
    q: SideIndex
    k: SideIndex
    heads: tuple[HeadProgram, ...]
    q_tokens: torch.Tensor
    k_tokens: torch.Tensor


Programs: TypeAlias = tuple[Program, ...]
_static: weakref.WeakKeyDictionary[Problem, dict[torch.device, Programs]] = (
    weakref.WeakKeyDictionary()
)


def programs_for(problem: Problem, known: Known | None, device: torch.device) -> Programs:
    """The programs of a problem, whose heads together are all heads.

    Without run-time tensors (``known`` None) they are made once.
    """
    if known is not None:
        return _programs(problem, known, device)
    by_device = _static.setdefault(problem, {})
    if device not in by_device:
        by_device[device] = _programs(problem, None, device)
    return by_device[device]


def _programs(problem: Problem, known: Known | None, device: torch.device) -> Programs:
    plan = make(problem, known=known, machine=BATCHED)
    return tuple(build(part, device) for part in plan.parts)


def build(plan: Plan, device: torch.device) -> Program:
    """Every index tensor and mask of a plan, on a device."""
    with torch.inference_mode(False):  # programs outlive the call: the next one may be training
        return _build(plan, device)


def _build(plan: Plan, device: torch.device) -> Program:
    layout = plan.layout
    boxes = plan.heads[0].boxes
    q = _side(layout.q, plan.problem.q_len, device)
    if boxes is None:
        k, k_places = _side(layout.k, plan.problem.k_len, device), layout.k.tokens
    elif in_tile_order(plan):
        k, k_places = q, layout.q.tokens
    else:
        # Boxes are read token by token from the sequence as it is.
        k = SideIndex(plan.problem.k_len, 1, 0, None, None)
        k_places = np.arange(plan.problem.k_len, dtype=np.int64)[:, None]
    return Program(
        plan,
        q,
        k,
        tuple(p for g in plan.heads for p in _head_programs(plan, g, device)),
        torch.as_tensor(np.maximum(layout.q.tokens, 0), device=device),
        torch.as_tensor(np.maximum(k_places, 0), device=device),
    )


def _side(side: SideTiling, length: int, device: torch.device) -> SideIndex:
    slots = side.tiles * side.capacity
    if side.row_major:
        return SideIndex(side.tiles, side.capacity, slots - length, None, None)
    tokens = side.tokens.ravel()
    inverse = np.zeros(length, dtype=np.int64)
    inverse[tokens[tokens >= 0]] = np.flatnonzero(tokens >= 0)
    return SideIndex(
        side.tiles, side.capacity, 0,
        torch.as_tensor(np.maximum(tokens, 0), device=device),
        torch.as_tensor(inverse, device=device),
    )  # fmt: skip


def _head_programs(plan: Plan, group: HeadPlan, device: torch.device) -> list[HeadProgram]:
    """One program for each of the pattern's head groups that these heads belong to."""
    batches, masks = _batches(plan, group)
    tiles = np.concatenate([b.rows for b in batches]) if batches else np.zeros(0, dtype=np.int64)
    order = None
    if not np.array_equal(tiles, np.arange(plan.rows)):
        # Tiles that no step has made point one past the end, where a tile of nothing stands.
        place = np.full(plan.rows, len(tiles), dtype=np.int64)
        place[tiles] = np.arange(len(tiles))
        order = torch.as_tensor(place, device=device)
    empty = _empty(plan, batches, masks)
    steps = tuple(_step(plan, b, m, device) for b, m in zip(batches, masks, strict=True))
    made = []
    for bound in plan.problem.groups:
        heads = tuple(h for h in group.heads if bound.start <= h < bound.stop)
        if heads:
            made.append(
                HeadProgram(
                    heads, bound.attend, steps, order, torch.as_tensor(empty, device=device)
                )
            )
    return made


def _batches(plan: Plan, group: HeadPlan) -> tuple[list[Batch], list[np.ndarray | None]]:
    """Batches in order of their first query tile, with their masks."""
    if group.boxes is not None:
        made = [(b.batch, b.mask) for b in box_batches(plan, group, group.boxes)]
    else:
        made = [(b, batch_mask(plan, group, b)) for b in schedule(group.table)]
    made.sort(key=lambda b: int(b[0].rows[0]))
    return [b for b, _ in made], [m for _, m in made]


def _empty(plan: Plan, batches: list[Batch], masks: list[np.ndarray | None]) -> np.ndarray:
    """Sequence places of queries that attend nothing."""
    tokens = plan.layout.q.tokens
    fed = np.zeros(tokens.shape, dtype=bool)
    for batch, mask in zip(batches, masks, strict=True):
        fed[batch.rows] = True if mask is None else mask.any(axis=2)
    return np.sort(tokens[(tokens >= 0) & ~fed])


def _step(plan: Plan, batch: Batch, mask: np.ndarray | None, device: torch.device) -> Step:
    rows = columns = seen = unfed = None
    dead = False
    if isinstance(batch, Gather):
        rows = torch.as_tensor(batch.rows, device=device)
        columns = torch.as_tensor(batch.columns, device=device)
    if mask is not None:
        none = ~mask.any(axis=2)
        if none.any():
            real = plan.layout.q.tokens[batch.rows if len(mask) > 1 else batch.rows[:1]] >= 0
            dead = bool((none & real).any())
            unfed = torch.as_tensor(none, device=device)
            mask = mask.copy()
            mask[:, :, 0] |= none
        seen = torch.as_tensor(mask, device=device)
    return Step(batch, rows, columns, seen, unfed, dead)
