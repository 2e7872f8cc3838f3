"""``attnlang show``: a picture in the terminal, as PNG or as SVG."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
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
from attnlang.cli.sizing import Sized, for_picture, sized_by
from attnlang.cli.target import open_target
from attnlang.cli.tensors import (
    Tensors,
    demand_inputs,
    lengths_of,
    on_grid,
    read_tensors,
    with_absent,
)
from attnlang.cli.tiling import (
    MOST_DRAWN,
    check_count,
    check_tile,
    small_tile,
    tile_text,
    usual_tile,
)
from attnlang.compiler.check import check_pattern
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.report.words import parameter, percent, plural
from attnlang.picture import Cell, Panel, Picture, PictureError, png, svg, terminal
from attnlang.picture.legend import WORDS

SCHEMA = "attnlang.show/1"
DESCRIPTION = """Queries go down, keys go right. Up to 512 tokens every pair is drawn, coloured by
whether its tile is full or partial; beyond that, tiles. Without --size the picture is small,
and windows longer than it are shortened. Of a program every attention and selection is drawn, with
what an example of random tensors chooses."""
EXAMPLES = (
    "attnlang show stdlib:sliding_window",
    "attnlang show stdlib:neighborhood_2d --size y=16 --size x=16 --set window=5 --out n.svg",
    "attnlang show stdlib:lca_causal_document --input doc=0*8,1*12,2*4",
    "attnlang show examples/patterns/routed.attn --step attended",
    "attnlang show stdlib:longlora_s2 --size n=8192 --heads 8 --tiles --out longlora.png",
)
DRAWN = 512
"""Tokens up to which single pairs are drawn."""

DRAWN_ON_DEMAND = MOST_DRAWN
"""The same with --elements."""

_ROOMY = 152
"""Columns in which a picture of 144 tokens fits, with its labels."""


def configure(parser: Parser) -> None:
    add_target(parser)
    add_sizes(parser, heads=None)
    add_parameters(parser)
    add_inputs(parser)
    parser.add_argument(
        "--head", action="append", type=int, default=[], metavar="h", help="draw only this head"
    )
    parser.add_argument(
        "--step",
        action="append",
        default=[],
        metavar="NAME",
        help="of a program, draw only this attention or selection",
    )
    parser.add_argument("--tile", metavar="T", help="extents of tiles: 16, 8,8 or QUERY:KEY")
    parser.add_argument(
        "--planned", action="store_true", help="the tiles of the layout that the planner chooses"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tiles", action="store_true", help="draw tiles, whatever the size")
    which.add_argument("--elements", action="store_true", help="draw every pair of tokens")
    parser.add_argument("--out", metavar="FILE", help="write FILE.png or FILE.svg instead")
    parser.add_argument(
        "--width", type=positive, help="columns to draw in (default: the terminal's)"
    )


def run(args: Namespace, console: Console) -> int:
    out = output(args.out, (".png", ".svg")) if args.out else None
    width = args.width or console.width
    roomy = bool(out or console.json or width >= _ROOMY)
    seen = _seen(args, roomy)
    if out is not None:
        _write(seen.picture, out)
    if console.json:
        console.print_json(_data(seen, out))
        return 0
    for note in seen.sized.notes + seen.notes:
        console.note(note)
    if out is not None:
        console.print(f"wrote {out}")
    else:
        coloured = console.colours(console.out)
        console.print(terminal.render(seen.picture, width=width, color=coloured))
    return 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """layout: of the tiles, by step for a program."""

    sized: Sized
    picture: Picture
    by_tile: bool
    layout: str | Mapping[str, str]
    notes: tuple[str, ...] = ()


def _seen(args: Namespace, roomy: bool) -> _Seen:
    module, name = open_target(args.target)
    parameters, sizes = parameters_of(args), sizes_of(args)
    ir = check_pattern(module, name, parameters)
    tensors = read_tensors(inputs_of(args), ir)
    program = sized_by(ir, sizes)
    if program.program is None:
        demand_inputs(ir, tensors)
    sized = for_picture(
        module,
        name,
        parameters,
        sizes,
        args.heads,
        implied=lengths_of(tensors, program),
        roomy=roomy,
        kv_heads=args.kv_heads,
        head_dim=args.head_dim,
    )
    for head in args.head:
        if not 0 <= head < sized.heads:
            there = f"there {'is' if sized.heads == 1 else 'are'} {plural(sized.heads, 'head')}"
            raise UsageError(f"no head {head}: {there}, from 0", "ask for more with --heads")
    if program.program is not None:
        return _steps(args, sized, tensors)
    if args.step:
        raise UsageError(f"`{ir.name}` is one attention: it has no steps", "leave --step out")
    return _one(args, sized, tensors)


def _one(args: Namespace, sized: Sized, tensors: Tensors) -> _Seen:
    """The picture of one attention."""
    ir = sized.pattern.ir
    tile = tile_of(args.tile)
    problem = sized.pattern.problem(
        sized.sizes, sized.heads, kv_heads=args.kv_heads, head_dim=args.head_dim
    )
    given: dict[str, Any] = with_absent(on_grid(tensors, sized.sizes, ir), problem)
    given |= {"kv_heads": args.kv_heads, "head_dim": args.head_dim}
    longest = max(problem.q_len, problem.k_len)
    if tile is not None:
        check_tile(tile, ir)
    elif args.planned:
        tile = None
    elif longest <= DRAWN or args.elements:
        tile = small_tile(ir, sized.sizes)
    else:
        tile = usual_tile(problem)
    by_tile = _by_tile(args, longest)
    plan = sized.pattern.plan(sized.sizes, sized.heads, tile=tile, **given)
    check_count(plan)
    subtitle = _subtitle(sized, plan)
    draw = drawing.tiles if by_tile else drawing.elements
    picture = draw(plan, args.head, sized.pattern.name, subtitle)
    return _Seen(sized, picture, by_tile, plan.layout_text)


def _steps(args: Namespace, sized: Sized, tensors: Tensors) -> _Seen:
    """The picture of a program, or of one of its steps."""
    from attnlang.cli.steps import see

    seen = see(args, sized, tensors, partial(_by_tile, args))
    parts = (_lengths(sized), _values(sized), seen.caption)
    subtitle = "; ".join(p for p in parts if p)
    picture = Picture(sized.pattern.name, subtitle, seen.panels)
    return _Seen(sized, picture, seen.by_tile, seen.layouts, seen.notes)


def _by_tile(args: Namespace, longest: int) -> bool:
    if args.elements and longest > DRAWN_ON_DEMAND:
        raise UsageError(f"{longest} tokens are too many to draw every pair", "try --tiles")
    return bool(args.tiles) or (not args.elements and longest > DRAWN)


def _subtitle(sized: Sized, plan: Plan) -> str:
    # Of the tiles that are drawn: a plan of boxes walks others, which need no grid.
    tables = [(g.table.tiles(), len(g.heads)) for g in plan.followed]
    every = sum(heads * sum(kinds.values()) for kinds, heads in tables)
    empty = sum(heads * kinds["empty"] for kinds, heads in tables)
    visited = 1 - empty / max(every, 1)
    tiles = f"tiles of {tile_text(plan)}, {percent(visited)} visited"
    return "; ".join(part for part in (_lengths(sized), _values(sized), tiles) if part)


def _lengths(sized: Sized) -> str:
    return ", ".join(f"{n}={s}" for n, s in sized.sizes.items())


def _values(sized: Sized) -> str:
    return ", ".join(f"{n}={parameter(v)}" for n, v in sized.pattern.params.items())


def _write(picture: Picture, path: Path) -> None:
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(svg.render(picture), encoding="utf-8")
        else:
            png.write(picture, path)
    except PictureError as error:
        raise UsageError(str(error)) from None


def _data(seen: _Seen, out: Path | None) -> dict[str, Any]:
    sized = seen.sized
    return {
        "schema": SCHEMA,
        "pattern": sized.pattern.name,
        "params": sized.pattern.params,
        "sizes": sized.sizes,
        "heads": sized.heads,
        "cells": "tiles" if seen.by_tile else "elements",
        "legend": {str(int(cell)): WORDS[cell] for cell in Cell},
        "layout": seen.layout,
        "panels": [{"title": p.title, "rows": _rows(p)} for p in seen.picture.panels],
        "out": None if out is None else str(out),
        "notes": [*sized.notes, *seen.notes],
    }


def _rows(panel: Panel) -> list[str]:
    """A line of digits for each query, or row of tiles: the codes of the legend."""
    return ["".join(map(str, row)) for row in panel.cells.tolist()]
