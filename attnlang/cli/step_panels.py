"""Panels of a program: one for each attention and selection.

What only the data decide is drawn as candidates, and beside them what one example chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from attnlang.cli import drawing
from attnlang.cli.tiling import Tile, small_tile, usual_tile
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import Recurrence, Select
from attnlang.compiler.ir.vector import ONE, Space
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.heads import heads_text
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep, bound_steps
from attnlang.compiler.report.dense import mask
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.steps.sets import (
    Chosen,
    certain,
    chosen_by,
    possible,
    with_where,
)
from attnlang.picture import Cell, Panel
from attnlang.planning import known_to_step


@dataclass(frozen=True, eq=False)
class Drawing:
    """What is drawn, and how. sets, numbers: of an example; empty for candidates alone. given: the
    run-time tensors. heads: of the whole program, all if none is named. tile: None for the
    planner's own."""

    made: BoundProgram
    sets: Mapping[str, NDArray[np.bool_]]
    numbers: Mapping[tuple[str, Side], NDArray[Any]]
    given: Mapping[str, object]
    heads: Sequence[int]
    by_tile: bool
    tile: Tile | Literal["small", "usual"] | None
    names: Sequence[str]


@dataclass(slots=True)
class Drawn:
    """A step and its panels. layout: of an attention's tiles."""

    name: str
    panels: list[Panel] = field(default_factory=list)
    layout: str | None = None


def drawn_steps(what: Drawing) -> Iterator[Drawn]:
    """The steps asked for, in order; without panels where they have no tokens or heads."""
    chosen: dict[str, Chosen] = {}
    for step in bound_steps(what.made):
        found = Drawn(step.name)
        if isinstance(step.owner, Select):
            chosen[step.owner.name] = chosen_by(step.owner, step, what.made, chosen)
            if step.name in what.names:
                found.panels = list(_set(chosen[step.owner.name], step, what))
                yield found
        elif step.name in what.names:
            if step.problem is not None:
                _attention(step, step.problem, chosen, what, found)
            yield found


def longest(made: BoundProgram, names: Sequence[str]) -> int:
    """Tokens of the longest side of the steps."""
    problems = [s.problem for s in bound_steps(made) if s.name in names]
    return max((max(p.q_len, p.k_len) for p in problems if p is not None), default=0)


def _attention(
    step: BoundStep,
    problem: Problem,
    sets: Mapping[str, Chosen],
    what: Drawing,
    found: Drawn,
) -> None:
    known = known_to_step(problem, what.given)
    read = {i.name for i in problem.pattern.inputs}
    tables = {n: x for n, x in what.sets.items() if n in read}
    numbers = {x: t for x, t in what.numbers.items() if x[0] in read}
    known = Known({**known.tokens, **numbers}, {**known.tables, **tables}, known.sorted)
    whole = relations(problem, known)[0].known  # with the parameters' tables
    settled = all(r.evaluable for r in relations(problem, known))
    shown = problem if settled else with_where(problem, lambda x: certain(x, sets, whole))
    upper = with_where(problem, lambda x: possible(x, sets, whole))
    layout = _layout(problem, what)
    plan = make(shown, layout, known, together=True)
    most = make(upper, plan.layout, known)
    if not isinstance(step.owner, Recurrence):
        found.layout = str(plan.layout)
    for group in plan.heads:
        heads = [step.start + h for h in group.heads]
        if what.heads and not set(heads) & set(what.heads):
            continue
        label = heads_text([h for h in heads if not what.heads or h in what.heads])
        alone = len(plan.heads) == 1 and step.heads == what.made.frame.heads
        title = step.name if alone else f"{step.name}, {label}"
        panel = drawing.panel(plan, group, title, by_tile=what.by_tile)
        may = _possible(most, group.heads, what.by_tile)
        untouched = np.isin(panel.cells, (Cell.EMPTY, Cell.SKIPPED))
        cells = np.where(untouched & may, Cell.CANDIDATE, panel.cells).astype(np.uint8)
        if isinstance(step.owner, Recurrence):  # a state has no tiles
            cells = np.where(untouched, Cell.EMPTY, Cell.SUMMED).astype(np.uint8)
            panel = replace(panel, grid=None)
        found.panels.append(replace(panel, cells=cells))


def _possible(most: Plan, heads: Sequence[int], by_tile: bool) -> NDArray[np.bool_]:
    """Where these heads may attend: pairs, or tiles."""
    if by_tile:
        group = next(g for g in most.heads if set(heads) <= set(g.heads))
        return np.asarray(group.table.dense() != 0)
    classes = relations(most.problem, most.known)
    return mask(next(r for r in classes if set(heads) <= set(r.heads)))


def _layout(problem: Problem, what: Drawing) -> Layout | None:
    match what.tile:
        case None:
            return None
        case "small":
            tile = small_tile(problem.pattern, _lengths(problem))
        case "usual":
            tile = usual_tile(problem)
        case tile if not _fits(tile, problem.pattern):
            tile = small_tile(problem.pattern, _lengths(problem))
        case _:
            pass
    return box_layout(problem, *tile)


def _fits(tile: Tile, pattern: PatternIR) -> bool:
    return [len(x) for x in tile] == [len(pattern.q_axes), len(pattern.k_axes)]


def _lengths(problem: Problem) -> dict[str, int]:
    return {
        f"{side}.{axis}": n
        for side, extents in (("q", problem.q), ("k", problem.k))
        for x in extents
        for axis, n in zip(x.axes, x.lengths, strict=True)
    }


def _set(found: Chosen, step: BoundStep, what: Drawing) -> Iterator[Panel]:
    """The set of every head that has one of its own, the candidates around it."""
    candidates = _candidates(found, step, what)
    name = found.select.name
    q, k = (() if x.axes == (ONE,) else drawing.token_ticks((x,)) for x in (found.q, found.k))
    drawn = what.sets.get(name)
    sets = [np.zeros_like(candidates)]
    if drawn is not None:
        sets = list(drawn.reshape(-1, found.q.size, found.k.size))
    heads = len(sets)
    of = found.select.dims[0].replace("_", " ") if found.select.by_head else ""
    for number, here in enumerate(sets):
        kept = what.heads and of == "head" and number not in what.heads
        if kept:
            continue
        cells = np.select([here, candidates], [Cell.CHOSEN, Cell.CANDIDATE], default=Cell.EMPTY)
        title = f"{step.name}, {of} {number}" if heads > 1 else step.name
        yield Panel(title, cells.astype(np.uint8), q, k)


def _candidates(found: Chosen, step: BoundStep, what: Drawing) -> NDArray[np.bool_]:
    """The places that may be chosen ``[queries, members]``."""
    select, problem = found.select, step.problem
    if select.gather is not None and select.rows is None and problem is not None:
        # A run may be chosen where one of the keys that belong to it is a candidate.
        (key,) = step.keys.values()
        runs = Space(found.k.axes, key.side, False, key.heads)
        inner = what.made.bound(select.gather.pattern, runs, {"keys": key}, 1, 1, 1)
        belongs = mask(relations(inner)[0])
        scored = with_where(problem, lambda x: possible(x, {}, Known()))
        must = Relation((0,), found.must, (found.q,), (found.k,), Known())
        return mask(relations(scored)[0]) @ belongs.T | mask(must)
    relation = Relation((0,), found.may, (found.q,), (found.k,), Known())
    if relation.evaluable:
        return mask(relation)
    return np.ones((found.q.size, found.k.size), dtype=bool)
