"""A matplotlib figure without pyplot's global state, made only when one is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

from attnlang.picture.errors import PictureError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
# Drawn at twice the pixels, so that text is sharp on dense screens.
_SHARPER = 2


def figure(width: float, height: float) -> "Figure":
    """An empty figure of about `width` x `height` CSS pixels on an Agg canvas."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError(
            "drawing PNG needs matplotlib: pip install 'attnlang[viz]', or ask for .svg"
        ) from error
    made = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(made)
    return made


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as PNG, with nothing in the file that depends on the version."""
    figure.savefig(path, format="png", dpi=DPI * _SHARPER, metadata={"Software": None})
