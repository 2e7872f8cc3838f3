"""The text of loops over what a row of a plan's tables has: runs of tiles, boxes, or lists, see
:mod:`attnlang.backends.triton.tables`, one step of the side that moves at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attnlang.backends.triton.functions import INT32
from attnlang.backends.triton.items import Items, over_items
from attnlang.backends.triton.odometer import begin_strips, boxes
from attnlang.backends.triton.source.tree import Block, Literal, Name, X, op
from attnlang.compiler.ir.expr import Side

if TYPE_CHECKING:
    from attnlang.backends.triton.writer import Writer

Step = Callable[[Block], None]
STEP = Name("STEP")


def over(w: Writer, block: Block, kind: str, step: Step) -> None:
    """Loops over what a row has of one kind, ``partial`` or ``full``."""
    loop = _over_boxes if w.boxed else _over_lists if w.form.tiles.listed else _over_runs
    loop(w, block, kind, step)


def _over_runs(w: Writer, block: Block, kind: str, step: Step) -> None:
    """Loops over the runs of one kind in a row, a part of a tile at a time."""
    if w.stripped:
        begin_strips(block, w.moving, w.axes)
    _over(w, block, kind, _runs(kind), step, _steps(kind) * Name("STEPS"))


def _over_boxes(w: Writer, block: Block, kind: str, step: Step) -> None:
    """Loops over the boxes of one kind in a row, a part of a tile at a time."""
    items = boxes(block, kind, w.axes, alike=w.form.tiles.alike)
    _over(w, block, kind, items, step, _steps(kind))


def _over(w: Writer, block: Block, kind: str, items: Items, step: Step, total: X) -> None:
    inner = Block()
    step(inner)
    over_items(block, kind, items, total, inner, split=w.split)


def _steps(kind: str) -> X:
    """Of all runs or boxes of one kind in a row."""
    return op("load")(Name(f"{kind}_steps") + Name("row"))


def _runs(kind: str) -> Items:
    start, parts = Name("start"), Name("STEPS")

    def clear(block: Block) -> None:
        block.let("start", 0)
        block.let("step", 0)

    def load(block: Block) -> X:
        block.let("start", op("load")(Name(f"{kind}_starts") + Name("run")) * parts)
        return op("load")(Name(f"{kind}_stops") + Name("run")) * parts - start

    def begin(block: Block, skip: X | None) -> None:
        block.let("step", start if skip is None else start + skip)

    def move(block: Block) -> None:
        block.let("step", Name("step") + 1)

    return Items(clear, load, begin, move)


def _over_lists(w: Writer, block: Block, kind: str, step: Step) -> None:
    """Loops over the granules that a row lists of one kind, a step full at a time."""
    inner = Block()
    step(inner)
    first, last = _ends(kind)
    first = block.let("first", first)
    block.let("listed", Name(f"{kind}_list") + first)
    slots = block.let("slots_listed", (last - first).to(INT32) * Name("GRAIN"))
    block.loop("step", w.steps(Literal(0), (slots + STEP - 1) // STEP), inner)


def _ends(kind: str) -> tuple[X, X]:
    """Of what the table has of one kind in a row."""
    offsets, row = Name(f"{kind}_offsets"), Name("row")
    return op("load")(offsets + row), op("load")(offsets + row + 1)


def gathered_places(block: Block, side: Side, slots: X, **how: X) -> None:
    """``place_q`` or ``place_k`` and which of the slots hold tokens, by a table of places."""
    place = block.let(f"place_{side}", op("load")(Name(f"tokens_{side}") + slots, **how))
    block.let(f"real_{side}", place >= 0)
    block.let(f"place_{side}", op("maximum")(place, 0))


def part_places(block: Block, side: Side, tile: X, *, packed: bool, gathered: bool) -> None:
    """``place_q`` or ``place_k`` of a program that stands on part of a tile or granule, and which
    of its slots have a token. packed: on each token once for every head that shares keys. gathered:
    are places read from a table?"""
    parts, rows, size = Name("PARTS"), Name("ROWS"), Name("TILE")
    slot = block.let("slots", tile % parts * rows + op("arange")(0, rows))
    if packed:
        block.let("member", slot % Name("group"))
        slot = block.let("slots", slot // Name("group"))
    at = tile // parts * size + slot
    if not gathered:
        place = block.let(f"place_{side}", at)
        block.let(f"real_{side}", (slot < size) & (place < Name(f"length_{side}")))
        return
    at = Name(f"tokens_{side}") + at
    place = block.let(f"place_{side}", op("load")(at, mask=slot < size, other=-1))
    block.let(f"real_{side}", place >= 0)
    block.let(f"place_{side}", op("maximum")(place, 0))


def list_places(block: Block, side: Side) -> None:
    """``place_q`` or ``place_k`` of one step, and which of its slots have a token: granules that
    ``listed`` names, one after another."""
    grain = Name("GRAIN")
    slot = block.let("slot", Name("step") * STEP + op("arange")(0, STEP))
    inside = block.let("inside", slot < Name("slots_listed"))
    which = block.let("grain", op("load")(Name("listed") + slot // grain, mask=inside, other=0))
    at = Name("grain_tokens") + which * grain + slot % grain
    place = block.let(f"place_{side}", op("load")(at, mask=inside, other=-1))
    block.let(f"real_{side}", place >= 0)
    block.let(f"place_{side}", op("maximum")(place, 0))
