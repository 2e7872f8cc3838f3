"""Merged rectangles cover exactly the cells they should, once."""

import numpy as np
import pytest

from attnlang.picture import Cell
from attnlang.picture.rectangles import rectangles


def painted(cells: np.ndarray) -> np.ndarray:
    seen = np.zeros_like(cells)
    for rect in rectangles(cells):
        box = seen[rect.row : rect.row + rect.height, rect.col : rect.col + rect.width]
        assert box.shape == (rect.height, rect.width)
        assert not box.any(), "rectangles overlap"
        box[:] = rect.cell
    return seen


@pytest.mark.parametrize("seed", range(10))
def test_random_cells_are_covered_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 30, size=2)
    cells = rng.integers(0, 1 + rng.integers(1, 6), size=shape).astype(np.uint8)
    assert (painted(cells) == cells).all()


def test_equal_rows_are_one_rectangle() -> None:
    cells = np.zeros((256, 256), dtype=np.uint8)
    cells[:, 10:20] = Cell.FULL
    (only,) = rectangles(cells)
    assert (only.row, only.col, only.height, only.width) == (0, 10, 256, 10)


def test_causal_needs_one_run_a_row() -> None:
    cells = np.tril(np.full((256, 256), Cell.FULL, dtype=np.uint8))
    assert len(list(rectangles(cells))) == 256
