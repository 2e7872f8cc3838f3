"""The first of a kernel's choices that a device has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

C = TypeVar("C")


@dataclass(frozen=True)
class Need:
    """Why something does not fit a device that has ``limit`` of what it needs ``required`` of."""

    required: int
    limit: int
    what: str = "shared memory"

    def __str__(self) -> str:
        unit = "bytes of " if self.what == "shared memory" else ""
        return f"{self.required} {unit}{self.what} of {self.limit}"


def first_that_fits(
    choices: Iterable[C], launch: Callable[[C], object]
) -> tuple[C | None, list[tuple[C, Need]]]:
    """Launches a kernel with each choice until the device has room for one.

    Gives that choice, or None, and what was dropped before it.
    """
    from triton.runtime.errors import OutOfResources

    dropped: list[tuple[C, Need]] = []
    for choice in choices:
        try:
            launch(choice)
        except OutOfResources as error:  # Triton asks before it launches anything
            dropped.append((choice, Need(error.required, error.limit, error.name)))
        else:
            return choice, dropped
    return None, dropped


def least(dropped: Iterable[tuple[object, Need]]) -> Need:
    """What the choice that needs least needs."""
    return min((need for _, need in dropped), key=lambda x: x.required)
