"""``attnlang show``: a picture in the terminal, as PNG or as SVG."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from attnlang.cli import drawing
from attnlang.cli.console import Console
from attnlang.cli.failures import UsageError
from attnlang.cli.options import (
    add_inputs,
    add_parameters,
    add_sizes,
    add_target,
    inputs_of,
    output,
    parameters_of,
    positive,
    sizes_of,
    tile_of,
)
from attnlang.cli.parser import Parser
from attnlang.cli.sizing import Sized, for_picture
from attnlang.cli.target import open_target
from attnlang.cli.tensors import demand_inputs, lengths_of, on_grid, read_tensors
from attnlang.compiler.check import check_pattern
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.report.words import parameter, percent
from attnlang.picture import Picture, PictureError, png, svg, terminal

SCHEMA = "attnlang.show/1"
DESCRIPTION = """Queries go down, keys go right. Up to 512 tokens every pair is drawn, coloured by whether its
tile is full or partial; beyond that, tiles. Without --size the picture is small, and windows
longer than it are shortened."""
EXAMPLES = (
    "attnlang show stdlib:sliding_window",
    "attnlang show stdlib:neighborhood_2d --size y=16 --size x=16 --set window=5",
    "attnlang show stdlib:lca_causal_document --input doc=0*8,1*12,2*4",
    "attnlang show stdlib:longlora_s2 --size n=8192 --heads 8 --tiles --out longlora.svg",
)
LARGEST = 512
"""Tokens up to which single pairs are drawn."""

MOST_TILES = 2048
"""Tiles a side, beyond which larger tiles are drawn."""


def configure(parser: Parser) -> None:
    add_target(parser)
    add_sizes(parser, heads=None)
    add_parameters(parser)
    add_inputs(parser)
    parser.add_argument(
        "--head", action="append", type=int, default=[], metavar="h", help="only these heads"
    )
    parser.add_argument("--tile", metavar="T", help="extents of tiles: 16, 8,8 or QUERY:KEY")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tiles", action="store_true", help="draw tiles, whatever the size")
    which.add_argument("--elements", action="store_true", help="draw every pair of tokens")
    parser.add_argument("--out", metavar="FILE", help="write FILE.png or FILE.svg instead")
    parser.add_argument("--width", type=positive, help="columns to draw in (default: all)")


def run(args: Namespace, console: Console) -> int:
    out = output(args.out, (".png", ".svg")) if args.out else None
    sized, plan = _plan(args)
    heads = tuple(args.head)
    for head in heads:
        if not 0 <= head < sized.heads:
            raise UsageError(f"there is no head {head}", f"heads go from 0 to {sized.heads - 1}")
    by_tile = _by_tile(args, plan)
    draw = drawing.tiles if by_tile else drawing.elements
    picture = draw(plan, heads, sized.pattern.name, _subtitle(sized, plan))
    if out is not None:
        _write(picture, out)
    if console.json:
        console.print_json(_data(sized, plan, picture, by_tile, out))
        return 0
    for note in sized.notes:
        console.note(note)
    if out is not None:
        console.print(f"wrote {out}")
        return 0
    width = args.width or console.width
    console.print(terminal.render(picture, width=width, color=console.colours(console.out)))
    return 0


def _plan(args: Namespace) -> tuple[Sized, Plan]:
    module, name = open_target(args.target)
    parameters = parameters_of(args)
    ir = check_pattern(module, name, parameters)
    tensors = read_tensors(inputs_of(args), ir)
    demand_inputs(ir, tensors)
    sizes = {**lengths_of(tensors, ir), **sizes_of(args)}
    sized = for_picture(module, name, parameters, sizes, args.heads)
    given: dict[str, Any] = on_grid(tensors, sized.sizes, ir)
    tile = tile_of(args.tile)
    if tile is None and not args.tiles:
        tile = _small_tile(sized)
    _check_tile(tile, sized)
    plan = sized.pattern.plan(
        sized.sizes, sized.heads, kv_heads=args.kv_heads, head_dim=args.head_dim, tile=tile, **given
    )
    if max(plan.layout.q.tiles, plan.layout.k.tiles) > MOST_TILES:
        tile = _coarser(plan)
        plan = sized.pattern.plan(sized.sizes, sized.heads, tile=tile, **given)
    return sized, plan


def _by_tile(args: Namespace, plan: Plan) -> bool:
    longest = max(plan.problem.q_len, plan.problem.k_len)
    if args.elements and longest > 4096:
        raise UsageError(
            f"{longest} tokens are too many to draw one by one", "leave out --elements"
        )
    return bool(args.tiles) or (not args.elements and longest > LARGEST)


def _small_tile(sized: Sized) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Tiles of which a small picture has several; None for sizes where the planner's do."""
    made: list[tuple[int, ...]] = []
    for side, axes in (("q", sized.pattern.ir.q_axes), ("k", sized.pattern.ir.k_axes)):
        lengths = [sized.sizes.get(f"{side}.{a}", sized.sizes.get(a, 1)) for a in axes]
        total = 1
        for n in lengths:
            total *= n
        if total > LARGEST:
            return None
        most = 8 if len(lengths) == 1 else 4 if len(lengths) == 2 else 2
        while len(lengths) == 1 and total > 16 * most:
            most *= 2
        made.append(tuple(min(most, n) for n in lengths))
    return made[0], made[1]


def _check_tile(tile: tuple[tuple[int, ...], tuple[int, ...]] | None, sized: Sized) -> None:
    if tile is None:
        return
    ir = sized.pattern.ir
    for extents, axes in zip(tile, (ir.q_axes, ir.k_axes), strict=True):
        if len(extents) != len(axes):
            named = ", ".join(axes)
            shown = ",".join(map(str, extents))
            raise UsageError(f"the tile `{shown}` needs one extent for each axis: {named}")


def _coarser(plan: Plan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Box tiles, of which no side has more than can be drawn."""
    made = []
    for side in (plan.problem.q, plan.problem.k):
        lengths = next(x for x in side if x.segment.is_grid).lengths
        extents = [1] * len(lengths)
        while _boxes(lengths, extents) > MOST_TILES // 4:
            axis = max(range(len(extents)), key=lambda i: lengths[i] / extents[i])
            extents[axis] *= 2
        made.append(tuple(extents))
    return made[0], made[1]


def _boxes(lengths: tuple[int, ...], extents: list[int]) -> int:
    total = 1
    for n, size in zip(lengths, extents, strict=True):
        total *= -(-n // size)
    return total


def _subtitle(sized: Sized, plan: Plan) -> str:
    sizes = ", ".join(f"{n}={s}" for n, s in sized.sizes.items())
    params = ", ".join(f"{n}={parameter(v)}" for n, v in sized.pattern.params.items())
    kinds = plan.tiles
    visited = (kinds["full"] + kinds["partial"]) / max(sum(kinds.values()), 1)
    shown = (
        "×".join(str(x) for x in _shape(plan.layout.q.extents)),
        "×".join(str(x) for x in _shape(plan.layout.k.extents)),
    )
    size = shown[0] if shown[0] == shown[1] else f"{shown[0]} by {shown[1]}"
    return "; ".join(
        part for part in (sizes, params, f"tiles of {size}, {percent(visited)} visited") if part
    )


def _shape(extents: Any) -> tuple[int, ...]:
    grid = next(x for x in extents if x.extent.segment.is_grid)
    return tuple(a.size for a in grid.axes)


def _write(picture: Picture, path: Path) -> None:
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(svg.render(picture), encoding="utf-8")
        else:
            png.write(picture, path)
    except PictureError as error:
        raise UsageError(str(error)) from None


def _data(
    sized: Sized, plan: Plan, picture: Picture, by_tile: bool, out: Path | None
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "pattern": sized.pattern.name,
        "params": sized.pattern.params,
        "sizes": sized.sizes,
        "heads": sized.heads,
        "cells": "tiles" if by_tile else "elements",
        "legend": {"0": "empty", "1": "partial", "2": "full", "3": "attends in a partial tile",
                   "4": "attends in a full tile", "5": "visited, does not attend"},
        "layout": str(plan.layout),
        "panels": [{"title": p.title, "cells": p.cells.tolist()} for p in picture.panels],
        "out": None if out is None else str(out),
        "notes": list(sized.notes),
    }  # fmt: skip
