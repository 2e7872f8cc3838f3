"""The text of walks whose steps are no tiles of a layout: over boxes of keys, see
:mod:`attnlang.backends.triton.boxes`, and over lists, see :mod:`attnlang.backends.triton.lists`."""

from __future__ import annotations

from attnlang.backends.triton.source.tree import Block, Name, X, op
from attnlang.compiler.ir.expr import Side

STEP = Name("STEP")


def load_box(block: Block, kind: str, axes: int) -> X:
    """Names the numbers of box ``run``. Gives how many steps its tiles are walked in."""
    at = block.let("box", Name(f"{kind}_boxes") + Name("run") * (1 + 4 * axes))
    block.let("corner", op("load")(at))
    slots: X | None = None
    tiles: X | None = None
    for i in range(axes):
        for j, word in enumerate(("pace", "extent", "tiles", "left")):
            block.let(f"{word}_{i}", op("load")(at + (1 + 4 * i + j)))
        slots = Name(f"extent_{i}") if slots is None else slots * Name(f"extent_{i}")
        tiles = Name(f"tiles_{i}") if tiles is None else tiles * Name(f"tiles_{i}")
    assert slots is not None
    assert tiles is not None
    slots = block.let("slots_of_tile", slots)
    parts = block.let("parts", (slots + STEP - 1) // STEP)
    return tiles * parts


def box_places(block: Block, axes: int) -> None:
    """``place_k`` and ``real_k`` of one step: the part of a tile that it is, the tile's place among
    those of the box and the slot's in the tile, axis by axis."""
    step, parts = Name("step"), Name("parts")
    tile: X = block.let("tile_k", step // parts)
    slot: X = block.let("slot_k", step % parts * STEP + op("arange")(0, STEP))
    place: X = Name("corner")
    block.let("real_k", slot < Name("slots_of_tile"))
    for i in reversed(range(axes)):
        extent, tiles = Name(f"extent_{i}"), Name(f"tiles_{i}")
        last = i == 0
        near = (tile if last else tile % tiles) * extent + (slot if last else slot % extent)
        near = block.let(f"step_{i}", near)
        place = place + near * Name(f"pace_{i}")
        block.let("real_k", Name("real_k") & (near < Name(f"left_{i}")))
        if not last:
            tile, slot = block.let("tile_k", tile // tiles), block.let("slot_k", slot // extent)
    block.let("place_k", op("where")(Name("real_k"), place, 0))


def granule_places(block: Block, side: Side, tile: X, packed: bool) -> None:
    """``place_q`` or ``place_k`` of a tile that stands on part of a granule, and which of its slots
    have a token. packed: it stands on each token once for every head that shares keys."""
    parts, rows, size = Name("PARTS"), Name("ROWS"), Name("TILE")
    slot = block.let("slots", tile % parts * rows + op("arange")(0, rows))
    if packed:
        block.let("member", slot % Name("group"))
        slot = block.let("slots", slot // Name("group"))
    at = Name(f"tokens_{side}") + (tile // parts * size + slot)
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
