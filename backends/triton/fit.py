"""The first of a kernel's choices that a device has room for, in shared memory and in registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

C = TypeVar("C")
SPILLED = "registers spilled"


@dataclass(frozen=True)
class Need:
    """Why something does not fit a device that has ``limit`` of what it needs ``required`` of; or
    how many registers it spills."""

    required: int
    limit: int
    what: str = "shared memory"

    def __str__(self) -> str:
        if self.what == SPILLED:
            return f"{self.required} {SPILLED}"
        unit = "bytes of " if self.what == "shared memory" else ""
        return f"{self.required} {unit}{self.what} of {self.limit}"


def first_that_fits(
    choices: Iterable[C], launch: Callable[[C], object], *, spilling: bool = False
) -> tuple[C | None, list[tuple[C, Need]]]:
    """Launches a kernel with each choice until the device has room for one that spills no register;
    where all spill, it is the one that spills least. So a kernel may be launched more than once: it
    writes what it makes, and adds to nothing.

    launch: gives the compiled kernel, where there is one. spilling: is the first that fits taken
    as it is? Gives that choice, or None, and what was dropped before it.
    """
    from triton.runtime.errors import OutOfResources

    dropped: list[tuple[C, Need]] = []
    spilled: list[tuple[C, Need]] = []
    for choice in choices:
        try:
            made = launch(choice)
        except OutOfResources as error:  # Triton asks before it launches anything
            dropped.append((choice, Need(error.required, error.limit, error.name)))
            continue
        spills = 0 if spilling else getattr(made, "n_spills", 0) or 0
        if not spills:
            return choice, [*dropped, *spilled]
        spilled.append((choice, Need(spills, 0, SPILLED)))
    if not spilled:
        return None, dropped
    best = min(spilled, key=lambda x: x[1].required)
    return best[0], [*dropped, *(x for x in spilled if x is not best)]


def least(dropped: Iterable[tuple[object, Need]]) -> Need:
    """What the choice that needs least needs."""
    return min((need for _, need in dropped), key=lambda x: x.required)
