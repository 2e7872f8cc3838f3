"""A picture as a PNG file, laid out exactly like the SVG."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attnlang.picture import canvas
from attnlang.picture.layout import compose
from attnlang.picture.palette import FILL, PAPER, SOFT_INK, rgb
from attnlang.picture.panel import Cell, Picture
from attnlang.picture.scene import Field, Line, Swatch, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = np.array([rgb(FILL[cell]) for cell in Cell], dtype=np.uint8)
_POINTS = 72 / canvas.DPI
_ALIGN = {"start": "left", "middle": "center", "end": "right"}


def write(picture: Picture, path: Path) -> None:
    """Write the picture to `path` as PNG, whatever its suffix.

    Raises PictureError when matplotlib is not installed.
    """
    scene = compose(picture)
    figure = canvas.figure(scene.width, scene.height)
    figure.set_facecolor(PAPER)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for field in scene.fields:
        _field(axes, field)
    _lines(axes, scene.lines)
    for swatch in scene.swatches:
        _swatch(axes, swatch)
    for text in scene.texts:
        _text(axes, text)
    # Last, because imshow changes them; one unit is one pixel of the scene, y downwards.
    axes.set_aspect("auto")
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    canvas.save(figure, path)


def _field(axes: "Axes", field: Field) -> None:
    right, bottom = field.x + field.width, field.y + field.height
    axes.imshow(
        _COLOURS[field.cells],
        extent=(field.x, right, bottom, field.y),
        interpolation="nearest",
        aspect="auto",
    )


def _lines(axes: "Axes", lines: tuple[Line, ...]) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(
            [((line.x1, line.y1), (line.x2, line.y2)) for line in lines],
            colors=[line.colour for line in lines],
            linewidths=_POINTS,
        ),
        autolim=False,
    )


def _swatch(axes: "Axes", swatch: Swatch) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (swatch.x, swatch.y),
            swatch.side,
            swatch.side,
            facecolor=swatch.fill,
            edgecolor=SOFT_INK,
            linewidth=0.75 * _POINTS,
        )
    )


def _text(axes: "Axes", text: Text) -> None:
    axes.text(
        text.x,
        text.y,
        text.content,
        fontsize=text.size * _POINTS,
        color=text.colour,
        fontweight="bold" if text.bold else "normal",
        horizontalalignment=_ALIGN[text.anchor],
        verticalalignment="baseline",
        rotation=90 if text.turned else 0,
        rotation_mode="anchor",
        # A dollar sign in a title is a dollar sign.
        parse_math=False,
    )
