"""Does any query attend a key of another segment, as a token input numbers them?

Packed documents must not see one another. Where every clause demands equal ids this holds for any
ids; otherwise the pairs of unlike ids are classified as a predicate of their own.
"""

from __future__ import annotations

import numpy as np

from attnlang.compiler.analysis.classify import classify
from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.layout.aligned import default_layout
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.plan.finding import PROVED, UNKNOWN, Finding
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.sema.segments import specialise


def segment_inputs(pattern: PatternIR) -> tuple[str, ...]:
    """Token inputs that number segments: sorted integers that queries and keys have."""
    return tuple(
        i.name
        for i in pattern.inputs
        if i.sorted and i.kind is Kind.INT and set(i.sides) == {Side.Q, Side.K}
    )


def stays_within(plan: Plan, group: HeadPlan, name: str) -> Finding:
    """Whether each query attends keys of its own segment only, and a pair where not.

    Prefixes and suffixes belong to no segment: they are not asked.
    """
    q, k = _grid_tiles(plan.problem)
    where = specialise(group.where, q.extent.segment, k.extent.segment)
    ids = [e.TokenInput(side, name, Kind.INT) for side in (Side.Q, Side.K)]
    found = clauses(where)
    if found is not None and all(any(_equates(x, ids) for x in clause) for clause in found):
        return PROVED
    astray = e.And((where, e.Compare("!=", *ids)))
    if not plan.known.covers(astray):
        return UNKNOWN
    classified = classify(astray, q, k, plan.known)
    rows, columns = classified.table.row_of_run, classified.table.starts
    if not len(rows):
        return PROVED
    if not classified.exact:
        return UNKNOWN
    mask = Elements(q, k, plan.known).masks(astray, rows[:1], columns[:1])
    _, value, real = next(iter(mask))
    i, j = np.argwhere((value & real)[0])[0]
    return Finding(False, int(q.tokens[rows[0], i]), int(k.tokens[columns[0], j]))


def _grid_tiles(problem: Problem) -> tuple[ExtentTiling, ExtentTiling]:
    layout = default_layout(problem)
    q, k = (
        next(x for x in side.extents if x.extent.segment.is_grid) for side in (layout.q, layout.k)
    )
    return q, k


def _equates(literal: e.Expr, ids: list[e.TokenInput]) -> bool:
    match literal:
        case e.Compare(op="==", left=a, right=b):
            return [a, b] in (ids, ids[::-1])
        case _:
            return False
