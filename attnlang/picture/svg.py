"""A picture as a self-contained SVG file, the same bytes every time."""

from html import escape

from attnlang.picture.labels import printable
from attnlang.picture.layout import compose
from attnlang.picture.palette import FILL, PAPER, PAPER_EDGE, SOFT_INK
from attnlang.picture.panel import Cell, Picture
from attnlang.picture.rectangles import rectangles
from attnlang.picture.scene import Field, Line, Scene, Swatch, Text

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def render(picture: Picture) -> str:
    """The text of an SVG file, on its own white paper so that it reads on any page."""
    return draw(compose(picture))


def draw(scene: Scene) -> str:
    """The text of an SVG file with what is laid out already."""
    name = escape(scene.name)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width}" height="{scene.height}" '
        f'viewBox="0 0 {scene.width} {scene.height}" role="img" aria-label="{name}" '
        f'font-family="{_FONT}">',
        f"<title>{name}</title>",
        _paper(scene),
        *(_field(field) for field in scene.fields),
        *_lines(scene.lines),
        *(_swatch(swatch) for swatch in scene.swatches),
        *(_text(text) for text in scene.texts),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _paper(scene: Scene) -> str:
    return (
        f'<rect x="0.5" y="0.5" width="{scene.width - 1}" height="{scene.height - 1}" rx="12" '
        f'fill="{PAPER}" stroke="{PAPER_EDGE}"/>'
    )


def _field(field: Field) -> str:
    """The cells, in units of cells so that the numbers stay short."""
    rows, cols = field.cells.shape
    parts = [
        f'<g class="cells" transform="translate({_number(field.x)} {_number(field.y)}) '
        f'scale({field.cell_width} {field.cell_height})" shape-rendering="crispEdges">',
        f'<rect width="{cols}" height="{rows}" fill="{FILL[Cell.EMPTY]}"/>',
    ]
    by_cell: dict[Cell, list[str]] = {}
    for rect in rectangles(field.cells):
        # A sub-path takes a third of the bytes of a <rect> element.
        by_cell.setdefault(rect.cell, []).append(
            f"M{rect.col} {rect.row}h{rect.width}v{rect.height}h-{rect.width}z"
        )
    parts += [
        f'<path class="{cell.name.lower()}" fill="{FILL[cell]}" d="{"".join(by_cell[cell])}"/>'
        for cell in sorted(by_cell)
    ]
    return "\n".join([*parts, "</g>"])


def _lines(lines: tuple[Line, ...]) -> list[str]:
    """One path for each colour, in the order in which the colours first appear."""
    paths: dict[str, str] = {}
    for line in lines:
        step = f"M{_number(line.x1)} {_number(line.y1)}L{_number(line.x2)} {_number(line.y2)}"
        paths[line.colour] = paths.get(line.colour, "") + step
    return [
        f'<path d="{path}" stroke="{colour}" stroke-width="1" fill="none"/>'
        for colour, path in paths.items()
    ]


def _swatch(swatch: Swatch) -> str:
    return (
        f'<rect x="{_number(swatch.x)}" y="{_number(swatch.y)}" width="{_number(swatch.side)}" '
        f'height="{_number(swatch.side)}" rx="2" fill="{swatch.fill}" stroke="{SOFT_INK}" '
        'stroke-width="0.75"/>'
    )


def _text(text: Text) -> str:
    x, y = _number(text.x), _number(text.y)
    anchor = "" if text.anchor == "start" else f' text-anchor="{text.anchor}"'
    weight = ' font-weight="600"' if text.bold else ""
    turned = f' transform="rotate(-90 {x} {y})"' if text.turned else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{text.size}" fill="{text.colour}"'
        f"{anchor}{weight}{turned}>{escape(printable(text.content), quote=False)}</text>"
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
