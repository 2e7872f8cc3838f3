"""The report on a pattern as users hold it: text, data, a table in a notebook."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from attnlang.compiler.report.data import to_dict
from attnlang.compiler.report.measure import measure
from attnlang.compiler.report.report import Report
from attnlang.compiler.report.text import to_text

if TYPE_CHECKING:
    from attnlang.pattern import Pattern


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a pattern costs and promises at one size."""

    report: Report

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``schema`` names the layout."""
        return to_dict(self.report)

    def __str__(self) -> str:
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
    """Plan the pattern at these sizes and count what the plan costs.

    inputs: run-time tensors; without those that decide which pairs attend, the report has
    bounds. Raises PatternError as :meth:`Pattern.plan` does.
    """
    start = time.perf_counter()
    given: dict[str, Any] = dict(inputs or {})
    plan = pattern.plan(sizes, heads, kv_heads=kv_heads, head_dim=head_dim, **given)
    planning_ms = 1000 * (time.perf_counter() - start)
    report = measure(plan, sizes, head_dim, planning_ms)
    return Explanation(replace(report, params=tuple(pattern.params.items())))
