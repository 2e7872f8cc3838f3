"""A report on a program as JSON-ready data; the schema is renamed when a field changes meaning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, assert_never

from attnlang.compiler.report.data import to_dict
from attnlang.compiler.report.steps.cost import Cost, Term
from attnlang.compiler.report.steps.model import (
    AttentionStep,
    LinearStep,
    PoolStep,
    ProgramReport,
    SelectStep,
    StepReport,
    TensorStep,
)

SCHEMA = "attnlang.explain.program/2"


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
        "bytes": report.traffic,
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
    own = {**asdict(step), "cost": _cost(step.cost)}
    match step:
        case PoolStep():
            return {"step": "pool", **own}
        case TensorStep():
            return {"step": "tensor", **own}
        case SelectStep():
            return {"step": "select", **own}
        case AttentionStep():
            return {"step": "attention", **own, "report": to_dict(step.report)}
        case LinearStep():
            return {"step": "linear", **own}
        case _:
            assert_never(step)


def _cost(cost: Cost) -> dict[str, Any]:
    work = None if cost.operations is None else [_term(x) for x in cost.operations]
    return {
        "operations": cost.amount,
        "bytes": cost.bytes,
        "at_most": cost.at_most,
        "work": work,
        "traffic": [_term(x) for x in cost.traffic],
    }


def _term(x: Term) -> dict[str, Any]:
    return {"of": x.of, "amount": x.amount, "formula": x.formula()}


def _plain(x: Any) -> Any:
    """With lists for tuples, as JSON has them."""
    match x:
        case dict():
            return {k: _plain(v) for k, v in x.items()}
        case tuple() | list():
            return [_plain(v) for v in x]
        case _:
            return x
