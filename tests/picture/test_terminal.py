"""The exact text of small pictures."""

import re

import numpy as np
import pytest

from attnlang.picture import Cell, Panel, Picture, terminal

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def causal(size: int) -> np.ndarray:
    return np.tril(np.full((size, size), Cell.FULL, dtype=np.uint8))


def element(title: str = "") -> Panel:
    cells = np.array([[3, 5, 0, 0], [3, 3, 0, 0], [4, 4, 3, 5], [4, 4, 3, 3]], dtype=np.uint8)
    return Panel(title, cells, grid=(2, 2))


def test_plain_text_exactly() -> None:
    picture = Picture("causal", "seq 4, tile 2 x 2", (element(),))
    assert terminal.render(picture, width=80, color=False) == (
        "causal\n"
        "seq 4, tile 2 x 2\n"
        "\n"
        "query key ->\n"
        "    0 + - . .\n"
        "    1 + + . .\n"
        "    2 # # + -\n"
        "    3 # # + +\n"
        "      0 1 2 3\n"
        "\n"
        "# attends (full tile)   + attends (partial tile)   - visited, does not attend\n"
        ". empty"
    )


def test_tile_codes_exactly_when_there_is_no_room_to_spare() -> None:
    panel = Panel("", np.array([[0, 1, 2] * 3], dtype=np.uint8), row_ticks=(), col_ticks=())
    text = terminal.render(Picture("", "", (panel,)), width=15, color=False)
    assert text == "query key ->\n      .+#.+#.+#\n\n# full\n+ partial\n. empty"


def test_panels_stand_side_by_side_when_they_fit() -> None:
    picture = Picture("t", "", (element("head 0"), element("head 1")))
    wide = terminal.render(picture, width=80, color=False)
    assert "head 0           head 1\n" in wide
    assert "\n    2 # # + -        2 # # + -\n" in wide
    narrow = terminal.render(picture, width=24, color=False)
    assert not re.search(r"head 0 +head 1", narrow)
    assert narrow.index("head 0") < narrow.index("head 1")


def test_colour_shows_two_rows_a_line() -> None:
    panel = Panel("", causal(64))
    lines = terminal.render(Picture("", "", (panel,)), width=80, color=True).split("\n")
    drawn = [line for line in lines if "▀" in line]
    assert len(drawn) == 32
    assert all(ESCAPE.sub("", line).count("▀") == 64 for line in drawn)
    full, empty = "28;78;128", "247;247;244"
    # The two first queries of a causal pattern: (q0, k0), (q1, k0), and (q1, k1) attend.
    assert drawn[0] == (
        f"    0 \x1b[38;2;{full}m\x1b[48;2;{full}m▀"
        f"\x1b[38;2;{empty}m\x1b[48;2;{full}m▀"
        f"\x1b[38;2;{empty}m\x1b[48;2;{empty}m" + "▀" * 62 + "\x1b[0m"
    )


def test_colour_of_an_odd_last_row_has_no_lower_half() -> None:
    cells = np.full((3, 60), Cell.FULL, dtype=np.uint8)
    text = terminal.render(Picture("", "", (Panel("", cells),)), width=70, color=True)
    last = [line for line in text.split("\n") if "▀" in line][-1]
    assert "\x1b[48;" not in last
    assert last.endswith("\x1b[0m")


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_no_line_is_wider_than_asked(width: int, *, color: bool) -> None:
    panels = tuple(Panel(f"head {head}", causal(50 + head)) for head in range(3))
    picture = Picture("a title " * 20, "a subtitle", panels)
    text = ESCAPE.sub("", terminal.render(picture, width=width, color=color))
    # The longest legend entry is the one thing that is not broken.
    assert max(len(line) for line in text.split("\n")) <= max(width, 28)


def test_huge_panel_is_downsampled_and_says_so() -> None:
    picture = Picture("causal", "seq 1024", (Panel("", causal(1024)),))
    text = terminal.render(picture, width=80, color=False)
    assert "seq 1024; each cell = 16 x 16" in text
    lines = text.split("\n")
    assert f"    0 +{'.' * 63}" in lines
    assert f"  512 {'#' * 32}+{'.' * 31}" in lines
    assert "      0       128     256     384     512     640     768     896" in lines


def test_plain_text_has_no_escapes_even_from_titles() -> None:
    picture = Picture("\x1b[31mred\n", "", (element("\x07"),))
    text = terminal.render(picture, width=80, color=False)
    assert "\x1b" not in text
    assert "\x07" not in text
