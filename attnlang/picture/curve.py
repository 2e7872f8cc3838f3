"""A line plot, for loss curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlang.picture import canvas
from attnlang.picture.labels import printable
from attnlang.picture.palette import FRAME, INK, LINES, PAPER, PAPER_EDGE, SOFT_INK

_WIDTH, _HEIGHT = 760, 440


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the plot: y over x."""

    label: str
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{self.label!r}: {len(self.x)} x but {len(self.y)} y")


def write(path: Path, series: tuple[Series, ...], *, title: str, xlabel: str, ylabel: str) -> None:
    """Write the lines to `path` as PNG, with a legend when there are several.

    Raises PictureError when matplotlib is not installed.
    """
    figure = canvas.figure(_WIDTH, _HEIGHT)
    figure.set_facecolor(PAPER)
    figure.set_layout_engine("tight")
    axes = figure.add_subplot()
    for number, line in enumerate(series):
        axes.plot(
            line.x,
            line.y,
            color=LINES[number % len(LINES)],
            # Past the last colour the lines differ by dashes.
            linestyle=("-", "--", ":")[number // len(LINES) % 3],
            linewidth=1.6,
            label=_plain(line.label),
        )
    axes.set_title(_plain(title), loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xlabel(_plain(xlabel), color=INK)
    axes.set_ylabel(_plain(ylabel), color=INK)
    axes.tick_params(colors=SOFT_INK)
    axes.grid(visible=True, color=PAPER_EDGE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    if len(series) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    canvas.save(figure, path)


def _plain(text: str) -> str:
    # Two dollar signs would make matplotlib read a formula.
    return printable(text).replace("$", r"\$")
