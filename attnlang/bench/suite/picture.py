"""The suite's result as a picture: how many times as fast attnlang is, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from attnlang.bench.suite.table import of, others
from attnlang.picture.palette import GRID, INK, LINES, PAPER, PAPER_EDGE, SOFT_INK

LABELS = {
    "sdpa": "dense attention",
    "sdpa + mask": "SDPA with the mask",
    "flex": "FlexAttention",
    "attnlang triton": "attnlang's Triton kernels",
}
"""What the legend calls contenders, where that is not their name."""
COLOURS = (*LINES, "#8a949e", "#7a5195")
LEFT, WIDTH, ROW, TOP, RIGHT = 190, 440, 24, 92, 40
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


def svg(result: Mapping[str, Any], direction: str = "forward") -> str:
    """One line a workload, a dot for each other contender: right of 1 attnlang is faster.

    The hollow ring is the bound: what skipping alone could give over dense attention.
    """
    rows = [r for r in result["rows"] if of(r, "attnlang", direction, "median_s")]
    marks = dict(zip(others(rows, direction), COLOURS, strict=False))
    values = [v for r in rows for v in _values(r, direction, marks).values()]
    low = math.floor(math.log2(min([0.5, *values])))
    high = math.ceil(math.log2(max([2.0, *values])))
    height = TOP + ROW * len(rows) + 44

    def x(value: float) -> float:
        return LEFT + WIDTH * (math.log2(value) - low) / (high - low)

    what = "forward" if direction == "forward" else "forward and backward"
    title = f"How many times as fast attnlang is, {what}"
    legend = sum(40 + 6.6 * len(LABELS.get(name, name)) for name in marks) + 250
    width = round(max(LEFT + WIDTH + RIGHT, legend))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{title}" font-family="{_FONT}">',
        f"<title>{title}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12" fill="{PAPER}" '
        f'stroke="{PAPER_EDGE}"/>',
        _text(20, 30, title, 15, INK, bold=True),
        *_legend(marks),
    ]
    for power in range(low, high + 1):
        value = 2.0**power
        colour = INK if power == 0 else GRID
        parts.append(
            f'<path d="M{x(value):.1f} {TOP - 6}V{height - 34}" stroke="{colour}" '
            f'stroke-width="{1 if power == 0 else 0.5}"/>'
        )
        shown = f"{value:g}×" if power >= 0 else f"1/{2**-power}×"
        parts.append(_text(x(value), height - 16, shown, 11, SOFT_INK, "middle"))
    for i, row in enumerate(rows):
        parts += _row(row, direction, marks, TOP + ROW * (i + 0.5), x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _values(row: Mapping[str, Any], direction: str, marks: Iterable[str]) -> dict[str, float]:
    """Ratios by contender, and the bound's over dense attention as ``bound``."""
    found = {name: of(row, name, direction, "ratio") for name in marks}
    share = row.get("dense_share")
    found["bound"] = 1 / share if share else None
    return {name: value for name, value in found.items() if value}


def _row(
    row: Mapping[str, Any], direction: str, marks: Mapping[str, str], y: float, x: Any
) -> list[str]:
    values = _values(row, direction, marks)
    tokens = f"{row['tokens']:,}"
    parts = [
        _text(LEFT - 62, y + 4, row["workload"], 12, INK, "end"),
        _text(LEFT - 12, y + 4, tokens, 11, SOFT_INK, "end"),
        f'<path d="M{LEFT} {y}h{WIDTH}" stroke="{PAPER_EDGE}" stroke-width="0.75"/>',
    ]
    if "bound" in values:
        parts.append(_ring(x(values["bound"]), y))
    for name, colour in marks.items():
        if name in values:
            parts.append(f'<circle cx="{x(values[name]):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
    return parts


def _ring(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="5.5" fill="none" stroke="{SOFT_INK}"/>'


def _legend(marks: Mapping[str, str]) -> list[str]:
    parts, place = [], 20.0
    for name, colour in marks.items():
        label = LABELS.get(name, name)
        parts.append(f'<circle cx="{place + 5}" cy="56" r="4.5" fill="{colour}"/>')
        parts.append(_text(place + 15, 60, label, 12, INK))
        place += 40 + 6.6 * len(label)
    parts.append(_ring(place + 5, 56))
    parts.append(_text(place + 15, 60, "the bound over dense attention", 12, INK))
    return parts


def _text(
    x: float, y: float, text: str, size: int, colour: str, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{escape(text, quote=False)}</text>'
    )
