"""The text of one loop over all steps of a row's items, which are runs of tiles or boxes.

Loads are issued ahead within one loop alone: with a loop for each item, the first tile of every one
would be waited for. So there is one loop, and where an item is done the next begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlang.backends.triton.source.tree import Block, Literal, Name, X, op


@dataclass(frozen=True, slots=True)
class Items:
    """How items are walked, of which ``run`` is the number of one.

    clear: names what the others do, before there is an item. load: an item's numbers; gives how
    many steps it has. begin: its first step, or one that so many are before. move: the next step.
    """

    clear: Callable[[Block], None]
    load: Callable[[Block], X]
    begin: Callable[[Block, X | None], None]
    move: Callable[[Block], None]


def over_items(
    block: Block, kind: str, items: Items, total: X, step: Block, *, split: bool
) -> None:
    """Visits every step of the items that a row has of one kind, ``partial`` or ``full``. total:
    of their steps. split: do programs share them? Each takes a run of them."""
    left, skip = Name("left"), Name("skip") if split else None
    block.let("run", op("load")(Name(f"{kind}_offsets") + Name("row")) - 1)
    block.remark("No item yet: the next begins where none of its steps is left.")
    items.clear(block)
    first, last = _share(block, items, total) if split else (Literal(0), total)
    block.let("left", 0)
    upcoming, turn = Block(), Block()
    upcoming.let("run", Name("run") + 1)
    steps = items.load(upcoming)
    items.begin(upcoming, skip)
    upcoming.let("left", steps if skip is None else steps - skip)
    if skip is not None:
        upcoming.let(skip.text, 0)
    turn.when(left.equal(0), upcoming)
    turn.extend(step)
    items.move(turn)
    turn.let("left", left - 1)
    block.loop("turn", Name("range")(first, last), turn)


def _share(block: Block, items: Items, total: X) -> tuple[X, X]:
    """The first step of a program's share, and that after the last. Finds the item before the one
    that it begins in, and ``skip``: the steps of that one before the share."""
    run, skip, passed = Name("run"), Name("skip"), Name("passed")
    steps, split, splits = block.let("steps", total), Name("split"), Name("splits")
    first = block.let("from_step", steps * split // splits)
    last = block.let("to_step", steps * (split + 1) // splits)
    block.let("skip", first)
    block.let("passed", 0)
    further = Block()
    further.let("skip", skip - passed)
    further.let("run", run + 1)
    further.let("passed", items.load(further))
    block.repeat((skip >= passed) & (first < last), further)
    block.let("run", run - 1)
    return first, last
