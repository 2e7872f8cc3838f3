"""Problem -> plan."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from attnlang.compiler.analysis.classify import classify
from attnlang.compiler.analysis.leaves import Known, parameter_tables, settled
from attnlang.compiler.analysis.swap import swapped, swapped_known
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.aligned import box_layout, default_layout
from attnlang.compiler.layout.cost import TENSOR_CORES, Machine
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.layout.shapes import best_shape
from attnlang.compiler.plan.apart import apart
from attnlang.compiler.plan.box_plan import Classes, box_plan
from attnlang.compiler.plan.boxes import BoxTable
from attnlang.compiler.plan.branches import branches
from attnlang.compiler.plan.flat import flat
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.solved import solved_table
from attnlang.compiler.plan.table import RunTable, stack
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.sema.segments import specialise


def make(
    problem: Problem,
    layout: Layout | None = None,
    known: Known | None = None,
    machine: Machine = TENSOR_CORES,
    *,
    together: bool = False,
) -> Plan:
    """The plan of a problem: what every class of heads visits, in a layout.

    layout: None lets the planner choose for ``machine``, for heads that fold alike at a time, or
    one for all that are to stay ``together``. known: run-time tensors of one batch element; what is
    not known is planned for any value.
    """
    given = known or Known()
    known = Known(given.tokens, {**given.tables, **parameter_tables(problem)}, given.sorted)
    classes = tuple((settled(where, known), heads) for where, heads in head_classes(problem))
    chosen = layout is None and not together
    if chosen and (several := branches(problem)):
        layout = default_layout(flat(problem))
        heads = tuple(_tabled(own, layout, known) for own in classes)
        made = (make(x, known=known, machine=machine) for x in several)
        return Plan(problem, heads, True, known, tuple(made))
    kinds = apart(problem, classes) if chosen else (classes,)
    planned = [_planned(problem, layout, own, known, machine) for own in kinds]
    exact = all(sure for _, sure in planned)
    return Plan(problem, tuple(group for own, _ in planned for group in own), exact, known)


def _planned(
    problem: Problem, layout: Layout | None, classes: Classes, known: Known, machine: Machine
) -> tuple[list[HeadPlan], bool]:
    """Groups of heads in one layout, and whether their plans are exact."""
    if layout is None:
        line = flat(problem)
        boxed = box_plan(line, classes, known, machine)
        if boxed is not None:
            layout, tables = boxed
            pairs = zip(classes, tables, strict=True)
            return [_boxed(own, table, layout, known) for own, table in pairs], True
        layout = _tables_layout(line, classes, known)
    groups: list[HeadPlan] = []
    exact = True
    for own in classes:
        table, sure = _table(own[0], layout, known)
        groups.append(replace(_tabled(own, layout, known), classify=partial(_given, table)))
        exact = exact and sure
    return groups, exact


def _tables_layout(problem: Problem, classes: Classes, known: Known) -> Layout:
    """Of tables: tiles of the shape that visits least."""
    layout = default_layout(problem)
    q, k = grid_of(problem.q), grid_of(problem.k)
    if len(q.axes) == 1:
        return layout
    wheres = [(specialise(where, q.segment, k.segment), len(heads)) for where, heads in classes]
    first = tuple(
        axis.size for x in layout.q.extents if x.extent.segment.is_grid for axis in x.axes
    )
    best = best_shape(wheres, q, k, first, known)
    return layout if best == first else box_layout(problem, best, best)


def _tabled(own: tuple[Expr, tuple[int, ...]], layout: Layout, known: Known) -> HeadPlan:
    where, heads = own
    rows, columns = (partial(f, where, layout, known) for f in (_rows, _columns))
    return HeadPlan(heads, where, layout, None, rows, columns)


def _boxed(
    own: tuple[Expr, tuple[int, ...]], table: BoxTable, layout: Layout, known: Known
) -> HeadPlan:
    return replace(_tabled(own, layout, known), boxes=table)


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
            solved = solved_table(predicate, k, q, known)
            line.append(classify(predicate, k, q, known).table if solved is None else solved)
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
