"""How a kernel is spread over a machine: the first guess, and what to try after it.

The order is that of registers and shared memory needed on Hopper for these loops, as compiled
(not timed): wide heads want narrow steps, and the gradient of keys holds four tiles at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

LARGEST_TILE = 128


@dataclass(frozen=True, slots=True)
class Shape:
    """What is fixed when a kernel is compiled. blocks: slots of a query tile and of a key tile.

    whole: have tiles of keys that every pair attends no empty slots? Of kernels that walk boxes.
    tile: extents of all tiles of a walk, empty where they differ or are not known.
    described: does a walk read its tiles by tensor descriptors? tokens: of a tile of the plan where
    heads that share keys stand in it together.
    """

    dtype: str
    head_dim: int
    value_dim: int
    blocks: tuple[int, int]
    whole: bool = False
    tile: tuple[int, ...] = ()
    described: bool = False
    tokens: int = 0

    @property
    def widest(self) -> int:
        """Slots of a row of registers: the wider head, padded."""
        return padded(max(self.head_dim, self.value_dim))


@dataclass(frozen=True, slots=True)
class Choice:
    """rows: slots that a program stands on. step: slots that it walks at a time. Both divide
    their tiles. maxnreg: registers of a thread at most, of NVIDIA's machines; None for as many as
    the compiler takes."""

    rows: int
    step: int
    warps: int
    stages: int
    maxnreg: int | None = None

    @property
    def options(self) -> dict[str, int]:
        """What Triton is told of it."""
        cap = {} if self.maxnreg is None else {"maxnreg": self.maxnreg}
        return {"num_warps": self.warps, "num_stages": self.stages, **cap}


Table: TypeAlias = dict[str, dict[int, tuple[Choice, ...]]]

_POINTERS: Table = {
    "forward": {
        128: (
            Choice(128, 64, 8, 2),
            Choice(64, 64, 4, 2),
            Choice(64, 32, 4, 1),
            Choice(32, 64, 4, 2),
        ),
        256: (Choice(64, 32, 4, 2), Choice(64, 32, 8, 1), Choice(32, 32, 4, 1)),
    },
    "query_gradient": {
        64: (
            Choice(64, 64, 4, 2),
            Choice(128, 64, 8, 2),
            Choice(64, 32, 4, 1),
            Choice(32, 32, 4, 2),
        ),
        128: (
            Choice(64, 64, 4, 2),
            Choice(64, 32, 4, 1),
            Choice(64, 32, 8, 1),
            Choice(32, 64, 4, 2),
        ),
        256: (Choice(64, 32, 8, 1), Choice(32, 32, 4, 1), Choice(16, 16, 4, 1)),
    },
    "key_gradient": {
        64: (
            Choice(128, 64, 8, 2),
            Choice(64, 32, 4, 2),
            Choice(64, 32, 4, 1),
            Choice(64, 32, 8, 1),
            Choice(32, 32, 4, 1),
        ),
        128: (Choice(64, 32, 8, 2), Choice(64, 32, 4, 1), Choice(32, 32, 4, 1)),
        256: (Choice(32, 32, 8, 1), Choice(32, 16, 8, 1), Choice(16, 16, 4, 1)),
    },
}
_DESCRIBED: Table = {
    "forward": {
        64: (Choice(128, 128, 8, 2), Choice(64, 64, 4, 2), Choice(64, 32, 4, 2)),
        128: (Choice(128, 64, 8, 2), Choice(64, 64, 4, 2), Choice(64, 32, 4, 2)),
        256: (Choice(64, 32, 4, 2), Choice(64, 32, 8, 2), Choice(32, 32, 4, 2)),
    },
    "query_gradient": {
        64: (Choice(64, 128, 4, 2), Choice(64, 64, 4, 2), Choice(64, 32, 4, 2)),
        128: (Choice(64, 64, 4, 2), Choice(64, 32, 4, 2), Choice(64, 32, 8, 2)),
        256: (Choice(64, 32, 8, 2), Choice(32, 32, 4, 2), Choice(16, 16, 4, 2)),
    },
    "key_gradient": {
        64: (
            Choice(128, 64, 8, 2),
            Choice(64, 64, 4, 2),
            Choice(64, 32, 4, 2),
            Choice(64, 32, 8, 2),
        ),
        128: (Choice(128, 32, 8, 2), Choice(64, 32, 8, 2), Choice(64, 32, 4, 2)),
        256: (Choice(64, 16, 8, 2), Choice(64, 32, 8, 2), Choice(16, 16, 4, 2)),
    },
}
"""With no addresses to hold, steps are twice as wide. One stage would wait for every tile."""
_SPREAD: Table = {
    "key_gradient": {
        64: (
            Choice(128, 32, 8, 2),
            Choice(64, 32, 4, 2),
            Choice(64, 32, 4, 1),
            Choice(32, 32, 4, 1),
        ),
        128: (
            Choice(128, 32, 8, 2),
            Choice(64, 16, 4, 2),
            Choice(64, 32, 8, 2),
            Choice(32, 32, 4, 1),
        ),
    },
}
"""Where coordinates of several axes are held beside four tiles, read by pointers."""
_EXACT: Table = {
    "forward": {
        64: (Choice(64, 32, 8, 2), Choice(32, 32, 4, 2), Choice(32, 16, 4, 1)),
        128: (Choice(32, 32, 8, 2), Choice(32, 16, 4, 2), Choice(32, 16, 8, 1)),
        256: (Choice(32, 16, 8, 1), Choice(16, 16, 8, 1), Choice(16, 16, 4, 1)),
        512: (Choice(32, 16, 16, 1), Choice(16, 8, 8, 1)),
    },
    "query_gradient": {
        64: (Choice(32, 32, 4, 2), Choice(32, 32, 8, 2), Choice(32, 16, 4, 1)),
        128: (Choice(32, 32, 8, 2), Choice(32, 16, 4, 1), Choice(32, 16, 8, 1)),
        256: (Choice(32, 16, 8, 1), Choice(16, 16, 4, 1), Choice(8, 8, 4, 1)),
        512: (Choice(16, 8, 8, 1), Choice(8, 8, 4, 1)),
    },
    "key_gradient": {
        64: (Choice(32, 32, 8, 2), Choice(32, 16, 4, 2), Choice(16, 16, 4, 1)),
        128: (Choice(32, 16, 8, 2), Choice(32, 16, 4, 1), Choice(16, 16, 4, 1)),
        256: (Choice(16, 16, 8, 1), Choice(16, 8, 8, 1), Choice(8, 8, 4, 1)),
        512: (Choice(16, 16, 8, 1), Choice(8, 8, 8, 1), Choice(8, 8, 4, 1)),
    },
    "split_forward": {
        64: (Choice(32, 32, 4, 3), Choice(32, 16, 4, 2), Choice(16, 16, 4, 1)),
        128: (Choice(32, 16, 4, 2), Choice(16, 16, 4, 1)),
        256: (Choice(16, 16, 8, 1), Choice(16, 16, 4, 2), Choice(8, 16, 4, 1)),
        512: (Choice(16, 8, 8, 1), Choice(8, 8, 8, 1)),
    },
    "merge": {256: (Choice(8, 8, 4, 1),)},
}
"""Of float32, whose products have no matrix instructions: threads hold what they multiply."""
for _table in (_POINTERS, _DESCRIBED):
    _table["split_forward"] = {
        128: (
            Choice(64, 64, 4, 3),
            Choice(64, 32, 4, 2),
            Choice(32, 64, 4, 3),
            Choice(32, 32, 4, 1),
        ),
        256: (Choice(32, 64, 4, 2), Choice(32, 32, 4, 2), Choice(16, 32, 4, 1)),
    }
    _table["merge"] = {256: (Choice(16, 16, 4, 1),)}
for _table in (_POINTERS, _DESCRIBED, _EXACT):
    _table["table_gradient"] = _table["row_max_gradient"] = _table["query_gradient"]
    _table["row_max"] = _table["forward"]


_LAST = (Choice(32, 32, 4, 1), Choice(32, 16, 4, 1), Choice(16, 16, 4, 1))
"""For scores and conditions that take most registers themselves, at any width."""


def choices(kernel: str, shape: Shape, stands_on_keys: bool) -> Iterator[Choice]:
    """Choices for a kernel, the likeliest best first, fitted to the plan's tiles."""
    rows, step = reversed(shape.blocks) if stands_on_keys else shape.blocks
    name = kernel.rstrip("0123456789")
    table = _EXACT if shape.dtype == "fp32" else _DESCRIBED if shape.described else _POINTERS
    by_width = table[name]
    if shape.tile and table is _POINTERS:
        by_width = by_width | _SPREAD.get(name, {})
    width = next((w for w in by_width if shape.widest <= w), max(by_width))
    # First those that stand on a whole tile as they are.
    first = sorted(by_width[width], key=lambda c: c.rows > rows)
    # Half a tile is for half the warps: matrix instructions of four take 64 rows.
    fitted = (
        replace(
            c, rows=min(c.rows, rows), step=min(c.step, step),
            warps=c.warps if c.rows <= rows else max(4, c.warps // 2),
        )
        for c in (*first, *_LAST)
    )  # fmt: skip
    yield from dict.fromkeys(fitted)


REGISTERS = {4: 168, 8: 128}
"""Of a thread, for that many warps: three programs at once, and two, of the 65536 that NVIDIA's
multiprocessors have."""


@lru_cache(maxsize=256)
def candidates(
    kernel: str, shape: Shape, stands_on_keys: bool, capped: bool = True
) -> tuple[Choice, ...]:
    """What to measure: those choices, then the same with a stage more and a stage less, those of
    narrower heads, and where the machine can be told (capped) those with fewer registers. The
    likeliest first, none twice."""
    first = list(choices(kernel, shape, stands_on_keys))
    least = 2 if shape.described else 1
    stages = [replace(c, stages=n) for c in first for n in (c.stages + 1, c.stages - 1)]
    narrow = replace(shape, head_dim=min(shape.head_dim, 64), value_dim=min(shape.value_dim, 64))
    more = [c for c in stages if c.stages >= least]
    more += choices(kernel, narrow, stands_on_keys)
    caps = [replace(c, maxnreg=REGISTERS[c.warps]) for c in first if c.warps in REGISTERS]
    return tuple(dict.fromkeys((*first, *more, *(caps if capped else ()))))


def tile_block(slots: int) -> int:
    """Slots of a tile that holds so many: parts of it are powers of two."""
    if slots <= LARGEST_TILE:
        return padded(slots)
    return -(-slots // LARGEST_TILE) * LARGEST_TILE


def padded(dims: int) -> int:
    """What a head's dimensions take in registers: a power of two, 16 at least."""
    return max(16, 1 << (dims - 1).bit_length())


def open_blocks(queries: int, keys: int) -> tuple[int, int]:
    """Tiles where no plan cuts any: as large as choices get, for as many tokens as there are."""
    return min(LARGEST_TILE, padded(queries)), min(LARGEST_TILE, padded(keys))


def constants(
    shape: Shape, choice: Choice, stands_on_keys: bool, *, closed: bool
) -> dict[str, int]:
    """The kernels' compile-time constants."""
    rows, step = reversed(shape.blocks) if stands_on_keys else shape.blocks
    parts = {} if closed else {"PARTS": rows // choice.rows, "STEPS": step // choice.step}
    parts |= {"TILE": shape.tokens} if shape.tokens else {}
    return parts | {
        "D": shape.head_dim,
        "DV": shape.value_dim,
        "PADDED_D": padded(shape.head_dim),
        "PADDED_DV": padded(shape.value_dim),
        "ROWS": choice.rows,
        "STEP": choice.step,
        "WHOLE": shape.whole,
        **{f"TILE_{i}": n for i, n in enumerate(shape.tile)},
        **{f"EXTENT_{i}": n for i, n in enumerate(step_of(shape.tile, choice.step))},
    }


def step_of(tile: tuple[int, ...], step: int) -> tuple[int, ...]:
    """Extents of what a step visits of a tile: the outermost halved until its slots are enough."""
    extents = list(tile)
    for i in range(len(extents)):
        while math.prod(extents) > step and extents[i] > 1:
            extents[i] = -(-extents[i] // 2)
    return tuple(extents)
