"""PNG files are real, of the right size, and show the right colours."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from attnlang.picture import Cell, Panel, Picture, PictureError, Series, curve, png
from attnlang.picture.layout import compose
from attnlang.picture.palette import FILL, rgb

PICTURE = Picture(
    "cost: $5 & <more> $",
    "tiles",
    (Panel("", np.array([[2, 0], [1, 2]], dtype=np.uint8)),),
)
SERIES = (Series("full $a$", [0, 1, 2], [3.0, 2.0, 1.0]), Series("window", [0, 1], [3, 2.5]))
LABELS = {"title": "loss $", "xlabel": "step", "ylabel": "loss"}


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_size_is_twice_the_scene(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.png"
    png.write(PICTURE, path)
    scene = compose(PICTURE)
    width, height = size(path)
    assert abs(width - 2 * scene.width) <= 1
    assert abs(height - 2 * scene.height) <= 1


def test_cells_have_their_colours(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    path = tmp_path / "a.png"
    png.write(PICTURE, path)
    pixels = np.round(image.imread(path)[:, :, :3] * 255).astype(int)
    (field,) = compose(PICTURE).fields
    for row, col in np.ndindex(2, 2):
        x = field.x + (col + 0.5) * field.cell_width
        y = field.y + (row + 0.5) * field.cell_height
        expected = rgb(FILL[Cell(int(field.cells[row, col]))])
        assert tuple(pixels[int(2 * y), int(2 * x)]) == expected


def test_same_bytes_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    png.write(PICTURE, tmp_path / "a.png")
    png.write(PICTURE, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_curve_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    curve.write(path, SERIES, **LABELS)
    assert size(path) == (1520, 880)


def test_series_must_pair_up() -> None:
    with pytest.raises(ValueError, match="'a': 1 x but 2 y"):
        Series("a", [0], [1.0, 2.0])


def test_without_matplotlib_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = "drawing PNG needs matplotlib: pip install 'attnlang[viz]', or ask for .svg"
    with pytest.raises(PictureError) as caught:
        png.write(PICTURE, tmp_path / "a.png")
    assert str(caught.value) == message
    with pytest.raises(PictureError):
        curve.write(tmp_path / "b.png", SERIES, **LABELS)
    assert list(tmp_path.iterdir()) == []
