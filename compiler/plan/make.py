"""Problem -> plan."""

from __future__ import annotations

from functools import partial

from attnlang.compiler.analysis.classify import classify
from attnlang.compiler.analysis.leaves import Known, parameter_tables, settled
from attnlang.compiler.analysis.swap import swapped, swapped_known
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.choose import Boxes, box_search, cut_keys, default_layout, describe
from attnlang.compiler.layout.cost import TENSOR_CORES, Machine
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.layout.tiling import ExtentTiling, SideTiling
from attnlang.compiler.plan.boxes import BoxTable
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.table import RunTable, stack
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.sema.segments import specialise


def make(
    problem: Problem,
    layout: Layout | None = None,
    known: Known | None = None,
    machine: Machine = TENSOR_CORES,
) -> Plan:
    """The plan of a problem: what every class of heads visits, in a layout.

    layout: None lets the planner choose for ``machine``. known: run-time tensors of one batch
    element; what is not known is planned for any value.
    """
    given = known or Known()
    known = Known(given.tokens, {**given.tables, **parameter_tables(problem)}, given.sorted)
    classes = tuple((settled(where, known), heads) for where, heads in head_classes(problem))
    if layout is None and len(problem.q) == len(problem.k) == 1:
        wheres = [(where, len(heads)) for where, heads in classes]
        boxes = box_search(wheres, problem.q[0], problem.k[0], known, machine)
        if boxes is not None:
            return _box_plan(problem, classes, boxes, known)
    layout = layout or default_layout(problem)
    groups: list[HeadPlan] = []
    exact = True
    for where, heads in classes:
        table, sure = _table(where, layout, known)
        columns = partial(_columns, where, layout, known)
        groups.append(HeadPlan(heads, where, None, partial(_given, table), columns))
        exact = exact and sure
    return Plan(problem, layout, tuple(groups), exact, known)


def _box_plan(
    problem: Problem,
    classes: tuple[tuple[Expr, tuple[int, ...]], ...],
    boxes: Boxes,
    known: Known,
) -> Plan:
    extent = problem.k[0]
    # Head classes may walk keys in tiles of unlike extents; pictures are cut by the first's.
    tile = boxes.classes[0].k_tile
    keys = tuple(
        cut_keys(f, n, t) for f, n, t in zip(boxes.folds, extent.lengths, tile, strict=True)
    )
    layout = Layout(
        SideTiling((boxes.q,)),
        SideTiling((ExtentTiling(extent, keys),)),
        describe(boxes, extent.axes),
    )
    groups = []
    for (where, heads), own in zip(classes, boxes.classes, strict=True):
        table = BoxTable(boxes.q, own.reaches, own.k_tile)
        rows, columns = (
            partial(_rows, where, layout, known),
            partial(_columns, where, layout, known),
        )
        groups.append(HeadPlan(heads, where, table, rows, columns))
    return Plan(problem, layout, tuple(groups), True, known)


def _given(table: RunTable) -> RunTable:
    return table


def _rows(where: Expr, layout: Layout, known: Known) -> RunTable:
    return _table(where, layout, known)[0]


def _columns(where: Expr, layout: Layout, known: Known) -> RunTable:
    """The transposed table: every pair of segments asked with queries and keys exchanged."""
    known = swapped_known(known)
    lines = []
    for k in layout.k.extents:
        line = []
        for q in layout.q.extents:
            predicate = swapped(specialise(where, q.extent.segment, k.extent.segment))
            line.append(classify(predicate, k, q, known).table)
        lines.append(tuple(line))
    return stack(tuple(lines))


def _table(where: Expr, layout: Layout, known: Known) -> tuple[RunTable, bool]:
    exact = True
    lines: list[tuple[RunTable, ...]] = []
    for q in layout.q.extents:
        line: list[RunTable] = []
        for k in layout.k.extents:
            predicate = specialise(where, q.extent.segment, k.extent.segment)
            found = classify(predicate, q, k, known)
            line.append(found.table)
            exact = exact and found.exact
        lines.append(tuple(line))
    return stack(tuple(lines)), exact
