"""The SVG is well-formed, small, escaped, deterministic, and shows the right cells."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from attnlang.picture import Cell, Panel, Picture, svg

NS = {"svg": "http://www.w3.org/2000/svg"}
STEP = re.compile(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z")


def element_panel() -> Panel:
    cells = np.array([[3, 5, 0, 0], [3, 3, 0, 0], [4, 4, 3, 5], [4, 4, 3, 3]], dtype=np.uint8)
    return Panel("head 0", cells, grid=(2, 2))


def drawn_cells(group: ElementTree.Element) -> np.ndarray:
    """The cells of one panel, read back from the paths."""
    paper = group.find("svg:rect", NS)
    assert paper is not None
    cells = np.zeros((int(paper.attrib["height"]), int(paper.attrib["width"])), dtype=np.uint8)
    for path in group.findall("svg:path", NS):
        assert STEP.sub("", path.attrib["d"]) == ""
        for step in STEP.findall(path.attrib["d"]):
            col, row, width, height, back = map(int, step)
            assert back == width
            box = cells[row : row + height, col : col + width]
            assert not box.any(), "two rectangles overlap"
            box[:] = Cell[path.attrib["class"].upper()]
    return cells


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.findall("svg:text", NS)]


@pytest.mark.parametrize("seed", range(4))
def test_cells_can_be_read_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    panels = tuple(
        Panel(f"head {head}", rng.integers(0, 6, size=(17, 40)).astype(np.uint8))
        for head in range(3)
    )
    root = ElementTree.fromstring(svg.render(Picture("t", "s", panels)))
    groups = root.findall("svg:g[@class='cells']", NS)
    assert len(groups) == 3
    for panel, group in zip(panels, groups, strict=True):
        assert (drawn_cells(group) == panel.cells).all()


def test_says_what_it_shows() -> None:
    picture = Picture("window", "seq 4, tile 2 x 2", (element_panel(),))
    shown = texts(ElementTree.fromstring(svg.render(picture)))
    assert {"window", "seq 4, tile 2 x 2", "head 0", "query", "key", "3"} <= set(shown)
    assert shown[-4:] == [
        "attends (full tile)",
        "attends (partial tile)",
        "visited, does not attend",
        "empty",
    ]


def test_all_text_is_escaped() -> None:
    ticks = ((0, "<q>&"),)
    panel = Panel("<p>&", np.zeros((2, 2), dtype=np.uint8), row_ticks=ticks, col_ticks=ticks)
    text = svg.render(Picture('a < b & "c"\x00', "<s>&", (panel,)))
    root = ElementTree.fromstring(text)
    assert {"<s>&", "<p>&", "<q>&", 'a < b & "c"\ufffd'} <= set(texts(root))
    assert root.attrib["aria-label"] == 'a < b & "c"\ufffd'


def test_same_bytes_every_time() -> None:
    picture = Picture("t", "s", (element_panel(), element_panel()))
    assert svg.render(picture) == svg.render(picture)


def test_large_picture_stays_small() -> None:
    causal = np.tril(np.full((256, 256), Cell.FULL, dtype=np.uint8))
    assert len(svg.render(Picture("t", "", (Panel("", causal),)))) < 10_000


def test_huge_picture_is_downsampled_and_says_so() -> None:
    causal = np.tril(np.full((2048, 2048), Cell.FULL, dtype=np.uint8))
    root = ElementTree.fromstring(svg.render(Picture("t", "", (Panel("", causal),))))
    assert "each cell = 4 x 4" in texts(root)
    group = root.find("svg:g[@class='cells']", NS)
    assert group is not None
    assert drawn_cells(group).shape == (512, 512)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2048), (2048, 1), (64, 64), (30, 200)])
@pytest.mark.parametrize("count", [1, 3, 8, 30])
def test_everything_stays_on_the_paper(shape: tuple[int, int], count: int) -> None:
    panels = tuple(
        Panel(f"head {n}", np.ones(shape, dtype=np.uint8), grid=(8, 8)) for n in range(count)
    )
    root = ElementTree.fromstring(svg.render(Picture("t " * 60, "s " * 90, panels)))
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for text in root.findall("svg:text", NS):
        assert 0 < float(text.attrib["x"]) < width
        assert 0 < float(text.attrib["y"]) < height
    for group in root.findall("svg:g", NS):
        found = re.fullmatch(
            r"translate\((\S+) (\S+)\) scale\((\d+) (\d+)\)", group.attrib["transform"]
        )
        assert found is not None
        left, top, across, down = map(float, found.groups())
        rows, cols = drawn_cells(group).shape
        assert left + cols * across <= width - 24
        assert top + rows * down <= height - 24


def test_grid_is_left_out_when_it_would_hide_the_cells() -> None:
    cells = np.zeros((256, 256), dtype=np.uint8)
    coarse = svg.render(Picture("", "", (Panel("", cells, grid=(64, 64)),)))
    fine = svg.render(Picture("", "", (Panel("", cells, grid=(2, 2)),)))
    none = svg.render(Picture("", "", (Panel("", cells),)))
    assert fine == none
    assert coarse != none
