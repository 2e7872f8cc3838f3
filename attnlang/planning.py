"""Plans for people: tile arguments and run-time tensors in the forms users have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnlang.compiler.analysis.leaves import Known, in_range
from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.syntax.limits import MAX_INTEGER


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
    """The tensors of one batch element as arrays the analysis can read.

    An optional input that is None reads as 0. Raises PatternError for a name that is not declared
    (AL412) and a tensor that does not fit its declaration (AL408).
    """
    declared = {i.name: i for i in problem.pattern.inputs}
    tokens: dict[tuple[str, Side], np.ndarray] = {}
    tables: dict[str, np.ndarray] = {}
    ordered: set[str] = set()
    for name, value in given.items():
        if name not in declared:
            help = did_you_mean(name, declared)
            raise failure("AL412", None, pattern=problem.pattern.name, name=name, help=help)
        decl = declared[name]
        if (value is None and not decl.optional) or (decl.sides and "head" in decl.dims):
            continue
        if not decl.sides:
            tables[name] = _array(value, decl, None, problem, batch)
            continue
        pair = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
        for side, one in zip((Side.Q, Side.K), pair, strict=True):
            if side in decl.sides:
                tokens[name, side] = _array(one, decl, side, problem, batch).reshape(-1)
        mine = [a for (n, _), a in tokens.items() if n == name]
        if decl.sorted and all(bool((np.diff(a) >= 0).all()) for a in mine):
            ordered.add(name)
    return Known(tokens, tables, frozenset(ordered))


def known_to_step(problem: Problem, given: Mapping[str, object]) -> Known:
    """What is known of the tensors that one step of a program reads, of those of the whole."""
    names = {i.name for i in problem.pattern.inputs}
    return known(problem, {n: x for n, x in given.items() if n in names})


_KINDS = {"b": Kind.BOOL, "i": Kind.INT, "u": Kind.INT, "f": Kind.FLOAT}


def _array(
    value: Any, decl: InputDecl, side: Side | None, problem: Problem, batch: int
) -> np.ndarray:
    """One batch element of a tensor as an array in 64 bits, its shape and values checked."""
    by_batch = decl.dims[:1] == ("batch",)
    if hasattr(value, "detach"):  # a torch tensor; numpy has no bfloat16, but float holds it
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    if value is None:
        return np.zeros(input_shape(decl, side, problem, 1)[by_batch:], _DTYPES[decl.kind])
    array = np.asarray(value)
    expected = input_shape(
        decl, side, problem, max(len(array), 1) if by_batch and array.ndim else 1
    )
    if _KINDS.get(array.dtype.kind) is not decl.kind or list(array.shape) != expected:
        fit = f"{decl.kind} values of shape {expected}"
        found = f"{array.dtype} of shape {list(array.shape)}"
        raise failure("AL408", decl.span, name=decl.name, expected=fit, found=found)
    if by_batch:
        array = array[min(batch, len(array) - 1)]
    if decl.kind is Kind.INT and array.size and not in_range(array):
        fit = f"integers of at most {MAX_INTEGER}"
        raise failure("AL408", decl.span, name=decl.name, expected=fit, found=array.max())
    return array.astype(_DTYPES[decl.kind])


_DTYPES = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64}
