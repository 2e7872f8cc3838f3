"""The layout of a plan: a tiling of each side, and why it was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.layout.cost import slots
from attnlang.compiler.layout.tiling import SideTiling


@dataclass(frozen=True)
class Layout:
    """q, k: the tilings. notes: what was decided, in words."""

    q: SideTiling
    k: SideTiling
    notes: tuple[str, ...] = ()

    @property
    def area(self) -> int:
        """Slots of one tile pair: what visiting a tile costs, padding included."""
        return slots(self.q.capacity) * slots(self.k.capacity)

    def __str__(self) -> str:
        lines = [f"query tiles {_shape(self.q)}, key tiles {_shape(self.k)}"]
        return "; ".join((*lines, *self.notes))


def _shape(side: SideTiling) -> str:
    grid = next(x for x in side.extents if x.extent.segment.is_grid)
    sizes = "×".join(str(a.size) for a in grid.axes)
    rules = ", ".join(f"{n}: {a.rule}" for n, a in zip(grid.extent.axes, grid.axes, strict=True))
    return f"{sizes} ({rules})"
