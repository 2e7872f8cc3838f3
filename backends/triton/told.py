"""Tables of a call whose run-time inputs are on a GPU: made there, and no host waits for them."""

from __future__ import annotations

import weakref

import torch

from attnlang.backends.call import Call
from attnlang.backends.on_device import DeviceClassifier, DeviceTable, runs
from attnlang.backends.triton.steps import by_row
from attnlang.backends.triton.tables import Runs, Tables, Walk, build
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.problem import Problem

MOST_PAIRS = 1 << 26
"""Tile pairs, over batch and classes of heads, that the device may hold tables of."""

_Ready = tuple[DeviceClassifier, Tables, torch.Tensor]
_ready: weakref.WeakKeyDictionary[Problem, dict[torch.device, _Ready]] = (
    weakref.WeakKeyDictionary()
)  # fmt: skip


def told(call: Call) -> list[Tables] | None:
    """The tables of every batch element; None where the host has to make them.

    Equal to the host's or with more partial tiles.
    """
    if call.q.device.type == "cpu":
        return None
    return tables_of(call)


def tables_of(call: Call) -> list[Tables] | None:
    """The same on any device."""
    classifier, static, ragged = _prepared(call.problem, call.q.device)
    layout = classifier.plan.layout
    pairs = layout.q.tiles * layout.k.tiles * len(classifier.plan.heads) * call.inputs.batch
    if pairs > MOST_PAIRS:
        return None
    found = classifier(call.inputs)
    by_query = [_unpadded(table, ragged) for table in found]
    by_key = [table.transposed() for table in found]
    return [
        Tables(
            static.heads,
            static.blocks,
            static.tokens,
            static.classes,
            _walk(by_query, layout.q.tiles, b),
            _walk(by_key, layout.k.tiles, b),
            static.strips,
            static.tile_tokens,
            static.together,
        )
        for b in range(call.inputs.batch)
    ]


def _prepared(problem: Problem, device: torch.device) -> _Ready:
    by_device = _ready.setdefault(problem, {})
    if device not in by_device:
        plan = make(problem, together=True)
        static = build(plan, device)
        ragged = torch.as_tensor(plan.layout.k.counts < static.blocks[Side.K], device=device)
        by_device[device] = DeviceClassifier(plan, device), static, ragged
    return by_device[device]


def _unpadded(table: DeviceTable, ragged: torch.Tensor) -> DeviceTable:
    """Full tiles that padding reaches into count as partial."""
    return DeviceTable(table.partial | (table.full & ragged), table.full & ~ragged)


def _walk(tables: list[DeviceTable], rows: int, b: int) -> Walk:
    """One direction, the rows of one class of heads after those of another."""
    made = []
    for kind in ("partial", "full"):
        every = runs(torch.cat([getattr(t, kind)[b : b + 1] for t in tables], 1))
        offsets, starts, stops = every.offsets[0], every.starts[0], every.stops[0]
        made.append(Runs(offsets, starts, stops, by_row(offsets, stops - starts)))
    return Walk(rows, made[0], made[1])
