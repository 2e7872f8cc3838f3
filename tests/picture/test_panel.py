"""Panels refuse what cannot be drawn, and pictures say how coarse they are."""

import numpy as np
import pytest

from attnlang.picture import Cell, Panel, Picture

CELLS = np.zeros((2, 3), dtype=np.uint8)


def test_codes_are_stable() -> None:
    names = ["EMPTY", "PARTIAL", "FULL", "ALLOWED", "ALLOWED_FULL", "SKIPPED"]
    assert [Cell[name].value for name in names] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "cells",
    [CELLS.astype(np.int64), CELLS[0], CELLS[:0]],
    ids=["dtype", "one axis", "no rows"],
)
def test_cells_must_be_a_uint8_matrix(cells: np.ndarray) -> None:
    with pytest.raises(ValueError, match="cells must be a non-empty uint8"):
        Panel("", cells)


def test_unknown_code_is_refused() -> None:
    with pytest.raises(ValueError, match="no cell has the code 99"):
        Panel("", CELLS + np.uint8(99))


def test_tick_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="tick 'end' at 2 lies outside 2 cells"):
        Panel("", CELLS, row_ticks=((2, "end"),))


def test_picture_without_panels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        Picture("", "", ())


def test_caption_names_the_box_only_when_there_is_one() -> None:
    plain, boxed = Panel("", CELLS), Panel("", CELLS, box=(16, 8))
    assert Picture("t", "seq 8", (plain,)).caption == "seq 8"
    assert Picture("t", "", (boxed,)).caption == "each cell = 16 x 8"
    assert Picture("t", "s", (plain, boxed)).caption == "s; each cell = 1 x 1 or 16 x 8"
