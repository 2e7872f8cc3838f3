"""A report on a program as JSON-ready data; the schema is renamed when a field changes meaning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, assert_never

from attnlang.compiler.report.data import to_dict
from attnlang.compiler.report.steps.model import (
    AttentionStep,
    LinearStep,
    PoolStep,
    ProgramReport,
    SelectStep,
    StepReport,
    TensorStep,
)

SCHEMA = "attnlang.explain.program/1"


def program_dict(report: ProgramReport) -> dict[str, Any]:
    """Plain dicts, lists, numbers and text; None where something was not counted."""
    cache = report.cache
    data = {
        "schema": SCHEMA,
        "pattern": report.pattern,
        "params": dict(report.params),
        "sizes": dict(report.sizes),
        "queries": report.queries,
        "keys": report.keys,
        "heads": report.heads,
        "kv_heads": report.kv_heads,
        "head_dim": report.head_dim,
        "steps": [_step(s) for s in report.steps],
        "forward": report.forward,
        "dense_forward": report.dense,
        "data_dependent": report.depends,
        "cache": None if cache is None else {c.name: c.tokens for c in cache},
        "state": report.state,
        "planning_ms": report.planning_ms,
        "notes": report.notes,
    }
    plain: dict[str, Any] = _plain(data)
    return plain


def _step(step: StepReport) -> dict[str, Any]:
    match step:
        case PoolStep():
            return {"step": "pool", **asdict(step)}
        case TensorStep():
            return {"step": "tensor", **asdict(step)}
        case SelectStep():
            return {"step": "select", **asdict(step)}
        case AttentionStep():
            own = {k: v for k, v in asdict(step).items() if k != "report"}
            return {"step": "attention", **own, "report": to_dict(step.report)}
        case LinearStep():
            return {"step": "linear", **asdict(step)}
        case _:
            assert_never(step)


def _plain(x: Any) -> Any:
    """With lists for tuples, as JSON has them."""
    match x:
        case dict():
            return {k: _plain(v) for k, v in x.items()}
        case tuple() | list():
            return [_plain(v) for v in x]
        case _:
            return x
