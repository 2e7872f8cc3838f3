"""Gradients of a score's tensors, written into the backward kernels.

Where the tokens of one side decide which entry is read, that side's kernel sums by token. Where
both do (a bias by distance), a kernel of its own sums by entry: each program adds into entries
that no other program has, one after another, so that the sum is the same every time.
"""

from __future__ import annotations

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.functions import FLOAT32
from attnlang.backends.triton.learned import Leaf, leaves
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.source.tree import Block, Listed, Name, X, op
from attnlang.backends.triton.weights import by_leaf
from attnlang.backends.triton.writer import Writer, row_pointer
from attnlang.compiler.ir.expr import Side


def standing_leaves(w: Writer, side: Side) -> tuple[Leaf, ...]:
    """Those whose slopes are summed for each token of a side."""
    found = leaves(w.attend, w.form.learned)
    return tuple(leaf for leaf in found if leaf.stands_on is side)


def begin_leaves(w: Writer, block: Block, mine: tuple[Leaf, ...]) -> None:
    for leaf in mine:
        w.used[a.LeafSums(leaf.number)] = None
        row_pointer(block, f"d_leaf{leaf.number}", f"length_{w.fixed}")
        block.let(f"leaf{leaf.number}", op("zeros")(Listed((Name("ROWS"),)), FLOAT32))


def add_leaves(
    w: Writer, block: Block, mine: tuple[Leaf, ...], moving: Lowering, seen: X | None
) -> None:
    for leaf in mine:
        name = f"leaf{leaf.number}"
        value = by_leaf(w, moving, leaf, seen)
        block.let(name, Name(name) + op("sum")(value, 1))


def end_leaves(w: Writer, block: Block, mine: tuple[Leaf, ...], side: Side) -> None:
    for leaf in mine:
        at = Name(f"d_leaf{leaf.number}_head") + (w.at if side is Side.Q else Name("place_k"))
        block.do(op("store")(at, Name(f"leaf{leaf.number}"), mask=Name(f"real_{side}")))
