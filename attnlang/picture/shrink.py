"""Huge panels made small enough to draw, without hiding anything that attends."""

from dataclasses import replace

import numpy as np

from attnlang.picture.panel import Cell, Cells, Panel, Picture, Ticks
from attnlang.picture.ticks import col_ticks, row_ticks

# A pair that attends in a partial tile is not among them: its box must not look like a full tile.
_FULL = (Cell.FULL, Cell.ALLOWED_FULL)
_LESSER = (Cell.SUMMED, Cell.CHOSEN, Cell.CANDIDATE, Cell.SKIPPED)


def downsample(panel: Panel, max_rows: int, max_cols: int) -> Panel:
    """The panel with at most `max_rows` x `max_cols` cells, each standing for a box of cells.

    A box is EMPTY only if all its cells are, FULL only if all are FULL or ALLOWED_FULL, PARTIAL
    if some attend, and else what some of its cells are: SUMMED, CHOSEN, CANDIDATE or SKIPPED.
    A panel that is small enough comes back unchanged.
    """
    return _shrink(panel, (_box(panel.rows, max_rows), _box(panel.cols, max_cols)))


def fit(picture: Picture, max_rows: int, max_cols: int) -> Picture:
    """The picture with every panel downsampled by one common box, so panels stay comparable."""
    box = (
        _box(max(panel.rows for panel in picture.panels), max_rows),
        _box(max(panel.cols for panel in picture.panels), max_cols),
    )
    return replace(picture, panels=tuple(_shrink(panel, box) for panel in picture.panels))


def _box(length: int, limit: int) -> int:
    # Powers of two, because tiles are: a box then seldom straddles a tile edge.
    box = 1
    while -(-length // box) > max(limit, 1):
        box *= 2
    return box


def _shrink(panel: Panel, box: tuple[int, int]) -> Panel:
    if box == (1, 1):
        return panel
    return Panel(
        title=panel.title,
        cells=_merge(panel.cells, box),
        row_ticks=_move(row_ticks(panel), box[0]),
        col_ticks=_move(col_ticks(panel), box[1]),
        grid=_coarser(panel.grid, box),
        box=(panel.box[0] * box[0], panel.box[1] * box[1]),
    )


def _merge(cells: Cells, box: tuple[int, int]) -> Cells:
    attends = np.isin(cells, (*_FULL, Cell.PARTIAL, Cell.ALLOWED))
    kinds = {
        Cell.FULL: _every(np.isin(cells, _FULL), box),
        Cell.PARTIAL: ~_every(~attends, box),
    } | {c: ~_every(cells != c, box) for c in _LESSER}
    merged = np.select(list(kinds.values()), list(kinds), default=Cell.EMPTY)
    return merged.astype(np.uint8)


def _every(holds: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """For each box, whether all its cells hold; boxes at the far edges may be cut short."""
    rows = np.logical_and.reduceat(holds, np.arange(0, holds.shape[0], box[0]), axis=0)
    both = np.logical_and.reduceat(rows, np.arange(0, holds.shape[1], box[1]), axis=1)
    return np.asarray(both)


def _move(ticks: Ticks, box: int) -> Ticks:
    return tuple((position // box, label) for position, label in ticks)


def _coarser(grid: tuple[int, int] | None, box: tuple[int, int]) -> tuple[int, int] | None:
    # A tile that is no whole number of boxes would put its lines in the wrong place.
    if grid is None or grid[0] % box[0] or grid[1] % box[1]:
        return None
    return grid[0] // box[0], grid[1] // box[1]
