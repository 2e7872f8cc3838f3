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

from attnlang.backends.triton.functions import INT32
from attnlang.backends.triton.items import Items
from attnlang.backends.triton.source.tree import Attribute, Block, Listed, Literal, Name, X, op
from attnlang.backends.triton.steps import NUMBERS
from attnlang.compiler.ir.expr import Coord, Expr, Side

STEP = Name("STEP")


def boxes(block: Block, kind: str, axes: int, *, alike: bool) -> Items:
    """The boxes of one kind. alike: have all the same extents? Then it is named here where in a
    step its slots are, ``near_0`` and so on, and counted where in a box a step is, ``at_0`` and so
    on."""
    words = [w for w in NUMBERS if not (alike and w == "extent")]
    numbers = [f"{w}_{i}" for i in range(axes) for w in words]
    counts = [f"tiles_{i}" for i in range(axes)]
    if alike:
        _near(block, axes)
        numbers += [f"at_{i}" for i in range(axes)]
    else:
        numbers += ["slots_of_tile", "parts", "step"]

    def clear(block: Block) -> None:
        for name in ("corner", *numbers, *([] if alike else counts)):
            block.let(name, 0)
        if alike:
            block.let("inner", op("zeros")(Listed((STEP,)), INT32))

    def load(block: Block) -> X:
        at = block.let("box", Name(f"{kind}_boxes") + Name("run") * (1 + len(NUMBERS) * axes))
        block.let("corner", op("load")(at))
        for i in range(axes):
            for w in words:
                place = 1 + len(NUMBERS) * i + NUMBERS.index(w)
                block.let(f"{w}_{i}", op("load")(at + place))
        extents = [_constant(i) if alike else Name(f"extent_{i}") for i in range(axes)]
        for i, extent in enumerate(extents):
            block.let(counts[i], (Name(f"span_{i}") + extent - 1) // extent)
        steps = _product([Name(x) for x in counts])
        if alike:
            return steps
        slots = block.let("slots_of_tile", _product(extents))
        return steps * block.let("parts", (slots + STEP - 1) // STEP)

    def begin(block: Block, skip: X | None) -> None:
        if not alike:
            block.let("step", 0 if skip is None else skip)
            return
        for i in reversed(range(axes)):
            tiles = Name(counts[i])
            digit = skip if skip is None or not i else skip % tiles
            block.let(f"at_{i}", 0 if digit is None else digit * _constant(i))
            skip = None if skip is None else skip // tiles
        block.let("inner", _together("near", axes))

    def move(block: Block) -> None:
        if alike:
            _turn(block, axes)
        else:
            block.let("step", Name("step") + 1)

    return Items(clear, load, begin, move)


def _near(block: Block, axes: int) -> None:
    slot: X = op("arange")(0, STEP)
    for i in reversed(range(axes)):
        block.let(f"near_{i}", slot % _constant(i) if i else slot)
        slot = slot // _constant(i)


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
