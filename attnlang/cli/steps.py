"""Pictures of programs: which steps, and what one example chooses.

What only the data decide is drawn as candidates, and among them what an example chooses.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attnlang.cli.failures import UsageError
from attnlang.cli.options import tile_of
from attnlang.cli.sizing import Sized
from attnlang.cli.step_panels import Drawing, drawn_steps, longest
from attnlang.cli.tensors import Tensors, on_grid, with_absent
from attnlang.cli.tiling import Tile
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import Select
from attnlang.compiler.problem.program import BoundProgram, bind_program
from attnlang.compiler.problem.steps import bound_steps
from attnlang.compiler.report.relation import relations
from attnlang.picture import Panel
from attnlang.planning import known, known_to_step

EXAMPLE = 4096
"""Tokens up to which an example is worked out."""


@dataclass(frozen=True, slots=True)
class Steps:
    """layouts: of the tiles of every attention."""

    panels: tuple[Panel, ...]
    caption: str
    by_tile: bool
    layouts: dict[str, str]
    notes: tuple[str, ...]


def see(
    args: Namespace, sized: Sized, tensors: Tensors, by_tile_at: Callable[[int], bool]
) -> Steps:
    """The steps that the command line asks for. by_tile_at: are sequences so long drawn by tiles?

    Raises UsageError for a step that is not there, and where nothing can be drawn.
    """
    pattern = sized.pattern
    whole = pattern.ir.outer or pattern.ir
    assert whole.program is not None
    made = bind_program(
        whole, sized.sizes, heads=sized.heads, kv_heads=args.kv_heads, head_dim=args.head_dim
    )
    names = _names(args, pattern.ir, whole)
    long = longest(made, names)
    by_tile = by_tile_at(long)
    given = with_absent(on_grid(tensors, sized.sizes, whole), made.frame)
    known(made.frame, given)  # what does not fit is told before anything is drawn
    sets: Mapping[str, NDArray[np.bool_]] = {}
    numbers: Mapping[tuple[str, Side], NDArray[Any]] = {}
    caption = ""
    if depends(made, names, given):
        caption = "candidates whatever is chosen"
        if max(made.frame.q_len, made.frame.k_len) <= EXAMPLE:
            from attnlang.cli.examples import example

            found = example(pattern.whole, made, sized.sizes, given)
            sets, numbers, given = found.sets, found.numbers, found.inputs
            caption = found.caption
    tile: Tile | Literal["small", "usual"] | None = tile_of(args.tile)
    if tile is None and not args.planned:
        tile = "usual" if by_tile else "small"
    drawn = list(drawn_steps(Drawing(made, sets, numbers, given, args.head, by_tile, tile, names)))
    empty = [d.name for d in drawn if not d.panels]
    notes = tuple(f"`{n}` has nothing to draw at this size" for n in empty)
    panels = tuple(p for d in drawn for p in d.panels)
    if not panels:
        raise UsageError(f"there is nothing to draw of {' and '.join(empty)} at this size")
    if len(panels) == 1 and len(names) == 1 and pattern.ir.outer is not None:
        panels = (replace(panels[0], title=""),)
    layouts = {d.name: d.layout for d in drawn if d.layout is not None}
    return Steps(panels, caption, by_tile, layouts, notes)


def _names(args: Namespace, ir: PatternIR, whole: PatternIR) -> list[str]:
    """The steps to draw."""
    assert whole.program is not None
    steps = [name for name, _ in whole.program.patterns]
    if ir.outer is not None:
        return [ir.name.partition(".")[2]]
    for name in args.step:
        if name not in steps:
            hint = did_you_mean(name, steps) or f"it has {', '.join(f'`{s}`' for s in steps)}"
            raise UsageError(f"`{ir.name}` has no step `{name}`", hint)
    return list(args.step) or steps


def depends(made: BoundProgram, names: Sequence[str], given: Mapping[str, object]) -> bool:
    """Do the data of the call decide which pairs of these steps attend?"""
    for step in bound_steps(made):
        if step.name not in names or step.problem is None:
            continue
        known = known_to_step(step.problem, given)
        if isinstance(step.owner, Select) or not all(
            r.evaluable for r in relations(step.problem, known)
        ):
            return True
    return False
