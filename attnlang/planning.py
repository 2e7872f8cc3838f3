"""Plans for people: tile arguments and run-time tensors in the forms users have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.layout.choose import box_layout
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.problem import Problem


def make_plan(problem: Problem, tile: Any, given: Mapping[str, object]) -> Plan:
    """The plan of a problem, with user-given tile extents and tensors.

    Tensors with a batch axis are read at their first batch element.
    """
    layout = None
    if tile is not None:
        q_tile, k_tile = (
            tile
            if isinstance(tile, tuple | list) and len(tile) == 2 and _per_side(problem, tile)
            else (tile, tile)
        )
        layout = box_layout(
            problem,
            _shape(q_tile, len(problem.pattern.q_axes)),
            _shape(k_tile, len(problem.pattern.k_axes)),
        )
    return make(problem, layout, known(problem, given))


def _per_side(problem: Problem, tile: Any) -> bool:
    """Is a pair (query tile, key tile) meant, rather than one tile of a 2-D grid?"""
    return len(problem.pattern.q_axes) != 2 or any(isinstance(t, tuple | list) for t in tile)


def _shape(tile: Any, rank: int) -> tuple[int, ...]:
    shape = (int(tile),) if isinstance(tile, int) else tuple(int(t) for t in tile)
    if len(shape) != rank or min(shape) < 1:
        raise ValueError(
            f"a tile has one positive extent for each of the {rank} axes, not {tile!r}"
        )
    return shape


def known(problem: Problem, given: Mapping[str, object], batch: int = 0) -> Known:
    """The tensors of one batch element as arrays the analysis can read."""
    declared = {i.name: i for i in problem.pattern.inputs}
    tokens: dict[tuple[str, Side], np.ndarray] = {}
    tables: dict[str, np.ndarray] = {}
    ordered: set[str] = set()
    for name, value in given.items():
        if name not in declared:
            raise failure(
                "AL412",
                None,
                pattern=problem.pattern.name,
                name=name,
                help=did_you_mean(name, declared),
            )
        decl = declared[name]
        if value is None or "head" in decl.dims:
            continue
        pair = value if isinstance(value, tuple) else (value, value)
        arrays = [np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in pair]
        if decl.dims[:1] == ("batch",):
            arrays = [a[min(batch, len(a) - 1)] for a in arrays]
        if decl.sides:
            for side, array in zip((Side.Q, Side.K), arrays, strict=True):
                if side in decl.sides:
                    tokens[name, side] = array.reshape(-1)
            if decl.sorted and all(bool((np.diff(a.reshape(-1)) >= 0).all()) for a in arrays):
                ordered.add(name)
        else:
            tables[name] = arrays[0]
    return Known(tokens, tables, frozenset(ordered))
