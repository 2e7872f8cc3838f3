"""Pictures of attention patterns, drawn from arrays of cells.

Matplotlib is imported only when a PNG is written.
"""

from attnlang.picture import curve, png, svg, terminal
from attnlang.picture.curve import Series
from attnlang.picture.errors import PictureError
from attnlang.picture.panel import Cell, Panel, Picture
from attnlang.picture.shrink import downsample, fit

__all__ = [
    "Cell",
    "Panel",
    "Picture",
    "PictureError",
    "Series",
    "curve",
    "downsample",
    "fit",
    "png",
    "svg",
    "terminal",
]
