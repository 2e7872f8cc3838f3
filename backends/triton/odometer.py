"""The text of steps that are boxes themselves: of boxes of keys, see
:mod:`attnlang.backends.triton.boxes`, and of tiles, see :mod:`attnlang.backends.triton.strips`.

The first token of a step moves like the digits of an odometer, its slots are told apart once: where
extents are constants, what a slot adds to a coordinate is one too, and no coordinate is found by
dividing a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add, mul

from attnlang.backends.triton.source.tree import Attribute, Block, Listed, Literal, Name, X, op
from attnlang.compiler.ir.expr import Coord, Expr, Side

STEP = Name("STEP")
NUMBERS = ("first", "gap", "pace", "extent", "span")
"""Of an axis of a box."""


def over_box(block: Block, kind: str, step: Block, axes: int, *, alike: bool, split: bool) -> None:
    """A loop over the steps of box ``run``. alike: have all boxes the same extents? split: do
    programs share the steps? Each takes a run of them."""
    at = block.let("box", Name(f"{kind}_boxes") + Name("run") * (1 + len(NUMBERS) * axes))
    block.let("corner", op("load")(at))
    for i in range(axes):
        for j, word in enumerate(NUMBERS):
            if not (alike and word == "extent"):
                block.let(f"{word}_{i}", op("load")(at + (1 + len(NUMBERS) * i + j)))
    extents = [_constant(i) if alike else Name(f"extent_{i}") for i in range(axes)]
    tiles = [
        block.let(f"tiles_{i}", (Name(f"span_{i}") + extent - 1) // extent)
        for i, extent in enumerate(extents)
    ]
    steps = _product(tiles)
    if not alike:
        slots = block.let("slots_of_tile", _product(extents))
        steps = steps * block.let("parts", (slots + STEP - 1) // STEP)
    first: X = Literal(0)
    if split:
        steps, share = block.let("steps", steps), Name("split")
        first = block.let("from_step", steps * share // Name("splits"))
        steps = block.let("to_step", steps * (share + 1) // Name("splits"))
    if alike:
        _begin(block, axes, tiles, first)
        _turn(step, axes)
    block.loop("step", Name("range")(first, steps), step)


def _begin(block: Block, axes: int, tiles: Sequence[Name], first: X) -> None:
    """``near_0`` and so on: where in a step its slots are. ``at_0`` and so on: where in the box the
    first step is."""
    slot: X = op("arange")(0, STEP)
    at: X = first
    for i in reversed(range(axes)):
        inner = i > 0
        block.let(f"near_{i}", slot % _constant(i) if inner else slot)
        digit = at if at == Literal(0) or not inner else at % tiles[i]
        block.let(f"at_{i}", digit if digit == Literal(0) else digit * _constant(i))
        slot = slot // _constant(i)
        at = at if at == Literal(0) else at // tiles[i]
    block.let("inner", _together("near", axes))


def _turn(block: Block, axes: int) -> None:
    """The step after this one: at its end an axis begins anew, and the next outer one moves."""
    move: X = _constant(axes - 1)
    for i in reversed(range(1, axes)):
        at = block.let(f"at_{i}", Name(f"at_{i}") + move)
        done = block.let("done", at >= Name(f"span_{i}"))
        block.let(f"at_{i}", op("where")(done, 0, at))
        move = op("where")(done, _constant(i - 1), 0)
    block.let("at_0", Name("at_0") + move)


def _divide(block: Block, axes: int) -> None:
    """The same of boxes with extents of their own: a step is a part of a tile, whose number is
    divided by those of tiles and slots, axis by axis."""
    step, parts = Name("step"), Name("parts")
    tile: X = block.let("tile_k", step // parts)
    slot: X = block.let("slot_k", step % parts * STEP + op("arange")(0, STEP))
    block.let("real_k", slot < Name("slots_of_tile"))
    for i in reversed(range(axes)):
        extent, tiles = Name(f"extent_{i}"), Name(f"tiles_{i}")
        inner = i > 0
        block.let(f"at_{i}", (tile % tiles if inner else tile) * extent)
        block.let(f"near_{i}", slot % extent if inner else slot)
        if inner:
            tile, slot = block.let("tile_k", tile // tiles), block.let("slot_k", slot // extent)
    block.let("inner", _together("near", axes))


def box_places(block: Block, axes: int, *, alike: bool, full: bool) -> None:
    """``place_k`` and ``real_k`` of one step: it is those of its first slot, ``corner_k``, and what
    each slot adds, ``inner``."""
    if not alike:
        _divide(block, axes)
    block.let("corner_k", Name("corner") + _together("at", axes))
    block.let("place_k", Name("corner_k") + Name("inner"))
    for i in range(axes):
        left: X = Name(f"span_{i}") - Name(f"at_{i}")
        if alike and i == 0:  # slots beyond the extents are beyond that of the outermost axis
            left = op("minimum")(left, _constant(0))
        here = Name(f"near_{i}") < left
        block.let("real_k", here if alike and i == 0 else Name("real_k") & here)
    if full:  # the compiler drops the mask where full tiles have no empty slots
        block.let("real_k", Name("real_k") | Name("WHOLE"))


def corner(axes: int) -> tuple[X, ...]:
    """The coordinates of a step's first token."""
    return tuple(Name(f"first_{i}") + Name(f"at_{i}") for i in range(axes))


def read_box(tensor: str, head: X, at: Sequence[X], dim: str) -> X:
    """The vectors ``[tokens, dim]`` of a step by a descriptor of their grid. head: of all batch
    elements, one after another. at: the first token's coordinates."""
    box = Attribute(Name(tensor), "load")(Listed((head, *at, Literal(0))))
    return Attribute(box, "reshape")(STEP, Name(f"PADDED_{dim}"))


def coordinates(side: Side, axes: Sequence[str]) -> dict[Expr, X]:
    """Of the tokens of a step."""
    found: dict[Expr, X] = {}
    for i, axis in enumerate(axes):
        first = Name(f"first_{i}") + Name(f"at_{i}") * Name(f"gap_{i}")
        found[Coord(side, axis)] = first + Name(f"near_{i}") * Name(f"gap_{i}")
    return found


def _constant(axis: int) -> Name:
    """The extent of a step, where it is the same in every box."""
    return Name(f"EXTENT_{axis}")


def _tile(axis: int) -> Name:
    """The extent of a tile, where it is the same in every tile."""
    return Name(f"TILE_{axis}")


def _together(word: str, axes: int) -> X:
    """How many places are before a key: from a box's first, or from a step's."""
    return reduce(add, (Name(f"{word}_{i}") * Name(f"pace_{i}") for i in range(axes)))


def _product(parts: Sequence[X]) -> X:
    return reduce(mul, parts)


def begin_strips(block: Block, side: Side, axes: int) -> None:
    """``near_0`` and so on, and what they add to the place of a step's first slot: the same in
    every tile."""
    slot: X = op("arange")(0, STEP)
    head = Name(f"strips_{side}")
    for i in reversed(range(axes)):
        block.let(f"near_{i}", slot % _tile(i) if i else slot)
        slot = slot // _tile(i)
        block.let(f"gap_{i}", op("load")(head + 2 * i))
        block.let(f"pace_{i}", op("load")(head + (2 * i + 1)))
    block.let("inner", _together("near", axes))


def strip_places(block: Block, side: Side, axes: int) -> None:
    """``place_q`` or ``place_k`` of one step, and ``real_q`` or ``real_k``. A step is some slots of
    a tile, and all extents are powers of two: no digit of a slot carries into the next."""
    step, parts = Name("step"), Name("STEPS")
    tile = block.let("tile", step // parts)
    numbers = block.let("numbers", Name(f"strips_{side}") + 2 * axes + tile * (1 + 2 * axes))
    slot: X = step % parts * STEP
    for i in reversed(range(axes)):
        block.let(f"at_{i}", slot % _tile(i) if i else slot)
        slot = slot // _tile(i)
    corner = op("load")(numbers) + _together("at", axes)
    block.let(f"corner_{side}", corner)
    block.let(f"place_{side}", Name(f"corner_{side}") + Name("inner"))
    for i in range(axes):
        block.let(f"first_{i}", op("load")(numbers + (1 + 2 * i)))
        here = Name(f"near_{i}") < op("load")(numbers + (2 + 2 * i)) - Name(f"at_{i}")
        block.let(f"real_{side}", Name(f"real_{side}") & here if i else here)
