"""Problem -> plan."""

from __future__ import annotations

from attnlang.compiler.analysis.classify import classify
from attnlang.compiler.analysis.leaves import Known, parameter_tables
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.layout.choose import default_layout
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.table import RunTable, stack
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.sema.segments import specialise


def make(problem: Problem, layout: Layout | None = None, known: Known | None = None) -> Plan:
    """The plan of a problem: tiles classified for every class of heads.

    known: run-time tensors of one batch element; what is not known is planned for any value.
    """
    layout = layout or default_layout(problem)
    given = known or Known()
    known = Known(given.tokens, {**given.tables, **parameter_tables(problem)}, given.sorted)
    groups: list[HeadPlan] = []
    exact = True
    for where, heads in head_classes(problem):
        table, sure = _table(where, layout, known)
        groups.append(HeadPlan(heads, where, table))
        exact = exact and sure
    return Plan(problem, layout, tuple(groups), exact, known)


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
