"""The gradient of a row's largest value, handed to those that have it.

It belongs to the key that has the largest, in equal parts to several. A kernel that makes
the scores with other tiles may round them otherwise, so they are told by their places: a second
walk keeps the first and the last of them, and each one's share. Between these two there is none,
unless three or more are equal: of those the others are found by their values.
"""

from __future__ import annotations

from attnlang.backends.triton.functions import masked
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.slope import SCORE, ZERO, slope
from attnlang.backends.triton.source.tree import Block, Name, X, op
from attnlang.backends.triton.tops import tops
from attnlang.backends.triton.writer import Writer, row_pointer
from attnlang.compiler.ir.expr import Expr, Side

NEARLY = 1e-5
"""How far two sums of the same products may lie apart, as a share of themselves."""
NO_KEY = -1
SHARES = ("share", "first", "last")
"""Rows ``[B, H, Nq]`` by which a backward kernel knows who has the largest, by number."""


def row_of(name: str, number: int) -> str:
    return f"top_{name}{number}"


def share_pointers(w: Writer, block: Block, after: int = -1) -> list[str]:
    """Of the rows of every ``row_max`` with a number above ``after``. Gives their names."""
    numbers = range(after + 1, len(tops(w.attend)))
    names = [row_of(name, i) for i in numbers for name in SHARES]
    for name in names:
        row_pointer(block, name)
    return names


def share_tops(w: Writer, block: Block, moving: Lowering, after: int = -1) -> None:
    """Names ``taken0`` and so on: what of the gradient of a row's largest value a pair has."""
    for i, top in enumerate(tops(w.attend)):
        if i <= after:
            continue
        place = w.along(Side.K, Name("place_k"))
        share, first, last = (w.along(Side.Q, Name(f"{name}{i}")) for name in SHARES)
        value, largest = moving.matrix(top.arguments[0]), moving.matrix(top)
        near = value >= largest - op("abs")(largest) * NEARLY
        equal = (place > first) & (place < last) & near
        here = place.equal(first) | place.equal(last) | equal
        block.let(f"taken{i}", op("where")(here, share, 0.0))


def read_shares(w: Writer, block: Block, *, whole: bool = False, after: int = -1) -> None:
    """Of the queries of a step, or of those that stand."""
    for i in range(after + 1, len(tops(w.attend))):
        for name in SHARES:
            at = Name(f"{row_of(name, i)}_head") + w.at
            nothing = 0.0 if name == "share" else NO_KEY
            block.let(
                f"{name}{i}",
                op("load")(at) if whole else op("load")(at, mask=Name("real_q"), other=nothing),
            )


def through_tops(
    w: Writer, moving: Lowering, made: X, seen: X | None, by: Expr = SCORE, after: int = -1
) -> X:
    """``made`` and the slope by ``by`` that is due to ``row_max`` with numbers above ``after``."""
    for i, top in enumerate(tops(w.attend)):
        steep = slope(top.arguments[0], by)
        if i > after and steep != ZERO:
            made = made + masked(Name(f"taken{i}"), moving.matrix(steep), seen)
    return made
