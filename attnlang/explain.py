"""The report on a pattern as users hold it: text, data, a table in a notebook."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from attnlang.compiler.ir.program import Branch, Select, owner_of
from attnlang.compiler.problem.program import bind_program
from attnlang.compiler.report.data import to_dict
from attnlang.compiler.report.measure import measure
from attnlang.compiler.report.report import Report
from attnlang.compiler.report.steps.data import program_dict
from attnlang.compiler.report.steps.measure import measure_program, of_step
from attnlang.compiler.report.steps.model import ProgramReport
from attnlang.compiler.report.steps.text import program_text
from attnlang.compiler.report.text import to_text
from attnlang.planning import known, known_to_step

if TYPE_CHECKING:
    from attnlang.pattern import Pattern


def _by_program(pattern: Pattern) -> bool:
    """Is it a step that means something within its program alone: one that selects, reads what was
    selected, or is linear?"""
    outer, owner = pattern.ir.outer, owner_of(pattern.ir)
    if outer is None or outer.program is None:
        return False
    chosen = {s.name for s in outer.program.steps if isinstance(s, Select)}
    return not isinstance(owner, Branch) or any(i.name in chosen for i in pattern.ir.inputs)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a pattern costs and promises at one size."""

    report: Report | ProgramReport

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``schema`` names the layout."""
        if isinstance(self.report, ProgramReport):
            return program_dict(self.report)
        return to_dict(self.report)

    def __str__(self) -> str:
        if isinstance(self.report, ProgramReport):
            return program_text(self.report)
        return to_text(self.report)

    def __repr__(self) -> str:
        return f"<Explanation of {self.report.pattern}>"

    def _repr_html_(self) -> str:
        return f'<pre style="line-height: 1.35">{escape(str(self))}</pre>'


def explain(
    pattern: Pattern,
    sizes: Mapping[str, int],
    heads: int = 1,
    head_dim: int = 64,
    inputs: Mapping[str, object] | None = None,
    *,
    kv_heads: int | None = None,
) -> Explanation:
    """Plan the pattern at these sizes and count what the plan costs; of a program, every step.

    inputs: run-time tensors; without those that decide which pairs attend, the report has
    bounds. Raises PatternError as :meth:`Pattern.plan` does.
    """
    start = time.perf_counter()
    given: dict[str, Any] = dict(inputs or {})
    params = tuple(pattern.params.items())
    program = pattern.ir.outer if _by_program(pattern) else pattern.ir
    if program is not None and program.program is not None:
        made = bind_program(program, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        known(made.frame, given)  # what does not fit is told before anything is counted
        whole = measure_program(made, sizes, partial(known_to_step, given=given))
        if program is not pattern.ir:
            whole = of_step(whole, pattern.name)
        spent = 1000 * (time.perf_counter() - start)
        return Explanation(replace(whole, params=params, planning_ms=spent))
    plan = pattern.plan(sizes, heads, kv_heads=kv_heads, head_dim=head_dim, **given)
    planning_ms = 1000 * (time.perf_counter() - start)
    report = measure(plan, sizes, head_dim, planning_ms)
    return Explanation(replace(report, params=params))
