"""Draw the pictures of the README: `python examples/make_pictures.py` writes examples/pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import attnlang
from attnlang.cli.drawing import elements, tiles
from attnlang.picture import Panel, Picture, svg

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True, slots=True)
class Shown:
    """A pattern of the standard library at a size that suits a picture."""

    name: str
    title: str
    sizes: dict[str, int]
    params: dict[str, object] = field(default_factory=dict)
    inputs: dict[str, object] = field(default_factory=dict)
    heads: tuple[int, int] = (1, 0)
    """How many there are, and which is drawn."""
    tile: int | tuple[int, int] = 8

    def panel(self) -> Panel:
        """Every pair of tokens."""
        count, head = self.heads
        pattern = attnlang.load(f"stdlib:{self.name}", **self.params)
        plan = pattern.plan(self.sizes, count, tile=self.tile, **self.inputs)
        return replace(elements(plan, (head,), "", "").panels[0], title=self.title)


DOCUMENTS = np.repeat(np.arange(5), (20, 6, 17, 9, 12))[None]

GALLERY = (
    Shown("sliding_window", "sliding_window", {"n": 64}, {"window": 20}),
    Shown("streaming_sink", "streaming_sink", {"n": 64}, {"sinks": 4, "window": 12}),
    Shown("lca_causal_document", "packed documents", {"n": 64}, inputs={"doc": DOCUMENTS}),
    Shown("longlora_s2", "longlora_s2, a shifted head", {"n": 64}, heads=(2, 1)),
    Shown("neighborhood_1d", "neighborhood_1d, stride 8", {"n": 64}, {"window": 24, "stride": 8}),
    Shown("neighborhood_2d", "neighborhood_2d", {"y": 8, "x": 8}, {"window": 3}, tile=(2, 4)),
)


def gallery() -> Picture:
    """Six patterns, coloured by what their tiles cost."""
    return Picture(
        "Which pairs attend, and which tiles are computed",
        "64 queries from top to bottom, 64 keys from left to right, 8 tokens a tile",
        tuple(shown.panel() for shown in GALLERY),
    )


def layouts() -> Picture:
    """One pattern in two layouts: the right tiles make sparsity worth something."""
    pattern = attnlang.load("stdlib:neighborhood_2d", window=17)
    sizes = {"y": 128, "x": 128}
    panels = []
    for title, tile in (("64 pixels of a row", (1, 64)), ("8 x 8 pixels", (8, 8))):
        plan = pattern.plan(sizes, tile=tile)
        drawn = tiles(plan, (), "", "").panels[0]
        share = (plan.tiles["full"] + plan.tiles["partial"]) / sum(plan.tiles.values())
        panels.append(replace(drawn, title=f"{title}: {share:.0%} computed"))
    return Picture(
        "The same neighbourhood in two layouts",
        f"neighborhood_2d, window 17, on 128 x 128 pixels: {plan.density:.1%} of the pairs attend",
        tuple(panels),
    )


PICTURES = {"gallery.svg": gallery, "layouts.svg": layouts}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(svg.render(draw()), encoding="utf-8")
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
