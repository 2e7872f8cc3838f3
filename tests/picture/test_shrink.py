"""Downsampling never hides attention and never invents full tiles."""

import numpy as np
import pytest

from attnlang.picture import Cell, Panel, Picture, downsample, fit


def one_box(*codes: Cell) -> Cell:
    cells = np.array([codes], dtype=np.uint8)
    small = downsample(Panel("", cells), 1, 1)
    return Cell(int(small.cells[0, 0]))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((Cell.EMPTY, Cell.EMPTY), Cell.EMPTY),
        ((Cell.FULL, Cell.FULL), Cell.FULL),
        ((Cell.ALLOWED_FULL, Cell.ALLOWED_FULL), Cell.FULL),
        ((Cell.FULL, Cell.EMPTY), Cell.PARTIAL),
        ((Cell.FULL, Cell.PARTIAL), Cell.PARTIAL),
        ((Cell.PARTIAL, Cell.PARTIAL), Cell.PARTIAL),
        ((Cell.ALLOWED, Cell.ALLOWED), Cell.PARTIAL),
        ((Cell.ALLOWED, Cell.SKIPPED), Cell.PARTIAL),
        ((Cell.SKIPPED, Cell.SKIPPED), Cell.SKIPPED),
        ((Cell.SKIPPED, Cell.EMPTY), Cell.SKIPPED),
        ((Cell.CANDIDATE, Cell.SKIPPED), Cell.CANDIDATE),
        ((Cell.CANDIDATE, Cell.ALLOWED), Cell.PARTIAL),
        ((Cell.CHOSEN, Cell.CANDIDATE), Cell.CHOSEN),
        ((Cell.SUMMED, Cell.EMPTY), Cell.SUMMED),
    ],
)
def test_rule_of_a_box(codes: tuple[Cell, ...], expected: Cell) -> None:
    assert one_box(*codes) is expected


def test_one_attending_pair_is_never_lost() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        cells = np.zeros((int(rng.integers(1, 300)), int(rng.integers(1, 300))), dtype=np.uint8)
        row, col = rng.integers(cells.shape[0]), rng.integers(cells.shape[1])
        cells[row, col] = Cell.ALLOWED
        small = downsample(Panel("", cells), 20, 20)
        assert small.rows <= 20
        assert small.cols <= 20
        assert np.count_nonzero(small.cells) == 1
        assert small.cells[row // small.box[0], col // small.box[1]] == Cell.PARTIAL


def test_ragged_edge_counts_only_real_cells() -> None:
    cells = np.full((5, 5), Cell.FULL, dtype=np.uint8)
    small = downsample(Panel("", cells), 4, 4)
    assert small.cells.shape == (3, 3)
    assert (small.cells == Cell.FULL).all()


def test_small_panel_is_returned_unchanged() -> None:
    panel = Panel("", np.zeros((4, 4), dtype=np.uint8))
    assert downsample(panel, 4, 4) is panel


def test_ticks_and_grid_move_along() -> None:
    cells = np.zeros((64, 64), dtype=np.uint8)
    small = downsample(Panel("", cells, row_ticks=((33, "doc"),), grid=(16, 16)), 16, 16)
    assert small.box == (4, 4)
    assert small.row_ticks == ((8, "doc"),)
    assert small.col_ticks is not None
    assert small.col_ticks[:3] == ((0, "0"), (2, "8"), (4, "16"))
    assert small.grid == (4, 4)


def test_grid_that_boxes_straddle_is_dropped() -> None:
    panel = Panel("", np.zeros((64, 64), dtype=np.uint8), grid=(6, 6))
    assert downsample(panel, 16, 16).grid is None


def test_boxes_multiply() -> None:
    panel = Panel("", np.zeros((64, 32), dtype=np.uint8))
    twice = downsample(downsample(panel, 32, 32), 8, 8)
    assert twice.box == (8, 4)


def test_fit_uses_one_box_and_says_so() -> None:
    large = Panel("a", np.zeros((64, 64), dtype=np.uint8))
    small = Panel("b", np.zeros((8, 8), dtype=np.uint8))
    fitted = fit(Picture("t", "s", (large, small)), 16, 16)
    assert [panel.cells.shape for panel in fitted.panels] == [(16, 16), (2, 2)]
    assert fitted.caption == "s; each cell = 4 x 4"
