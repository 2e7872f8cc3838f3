"""The whole suite: every workload in turn, and what it was measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.bench.suite import flex, grids, libraries, sequences, torch_contenders
from attnlang.bench.suite.contender import Contender
from attnlang.bench.suite.limits import free_bytes
from attnlang.bench.suite.measure import Patience, measure, short
from attnlang.bench.suite.task import Task, prepare
from attnlang.bench.suite.workload import Scale, Shape, Workload
from attnlang.compiler.report.words import parameter
from attnlang.pattern import Pattern

SCHEMA = "attnlang.bench.suite/1"
WORKLOADS: tuple[Workload, ...] = (*sequences.WORKLOADS, *grids.WORKLOADS)
PATIENCE: Mapping[Scale, Patience] = {
    "quick": Patience(seconds=2.0, prepare=60.0),
    "cpu": Patience(seconds=15.0, prepare=240.0, fewest=5),
    "cuda": Patience(seconds=3.0, prepare=120.0, fewest=5),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One workload at one shape."""

    workload: Workload
    shape: Shape


def steps(scale: Scale, only: Sequence[str] = ()) -> tuple[Step, ...]:
    """What is measured at a scale; only: names of workloads, or their beginnings."""
    return tuple(
        Step(w, shape)
        for w in WORKLOADS
        if not only or any(w.name.startswith(name) for name in only)
        for shape in w.shapes[scale]
    )


def run(
    device: torch.device,
    scale: Scale,
    chosen: Sequence[Step],
    tell: Callable[[str], None] = lambda what: None,
    patience: Patience | None = None,
) -> dict[str, Any]:
    """One row a step. In float32 on a processor, in bfloat16 on a GPU. tell: hears each step."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    rows = []
    for step in chosen:
        name = step.workload.name
        tell(name)
        rows.append(row(step, device, dtype, patience or PATIENCE[scale], tell))
    return {
        "schema": SCHEMA,
        "device": device.type,
        "scale": scale,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "free_bytes": free_bytes(device),
        "rows": rows,
    }


def contenders(workload: Workload) -> Iterator[Contender]:
    """attnlang first: others are compared with it."""
    yield from torch_contenders.CONTENDERS
    yield flex.CONTENDER
    yield from (c for c in libraries.CONTENDERS if c.name in workload.kin)


def row(
    step: Step, device: torch.device, dtype: torch.dtype, patience: Patience,
    tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """One workload measured. A workload that cannot be made ready says why in ``failed``."""
    workload, shape = step.workload, step.shape
    found: dict[str, Any] = {
        "workload": workload.name,
        "claim": workload.claim,
        "pattern": described(workload.load(shape)),
        "sizes": dict(shape.sizes),
        "batch": shape.batch,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads or shape.heads,
        "head_dim": shape.dim,
        "failed": "",
        "contenders": [],
    }
    try:
        task = prepare(workload, shape, device, dtype)
    except Exception as error:  # said in the row; the other workloads go on
        return found | {"failed": short(error)}
    found |= facts(task)
    records = measure(
        task,
        tuple(contenders(workload)),
        patience,
        lambda what: tell(f"{workload.name}: {what}"),
    )
    return found | {"contenders": records, "bound": bound(task, records)}


def described(pattern: Pattern) -> str:
    """``sliding_window(window=256, sinks=0)``."""
    shown = ", ".join(f"{name}={parameter(value)}" for name, value in pattern.ir.values)
    return f"{pattern.name}({shown})"


def facts(task: Task) -> dict[str, Any]:
    """What is true of a task before anything runs. density: of all pairs, the future included."""
    everything = task.shape.heads * task.tokens**2
    pairs, plan = task.pairs, task.plan
    return {
        "tokens": task.tokens,
        "causal": task.causal,
        "density": None if pairs is None else pairs / everything,
        "dense_share": None if pairs is None else pairs / task.dense_pairs,
        "live_flops": task.flops,
        "waste": None if plan is None or not pairs else plan.visited / pairs,
        "layout": None if plan is None else plan.layout_text,
        "plan_bytes": None if plan is None else plan.nbytes,
        "plan_s": task.seconds.get("plan"),
        "select_s": task.seconds.get("select"),
    }


def bound(task: Task, records: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Seconds of dense attention times the share of its pairs that attend, by direction."""
    dense = next(r for r in records if r["name"] == "sdpa")
    share = None if task.pairs is None else task.pairs / task.dense_pairs
    return {
        direction: share * dense[direction]["median_s"]
        if share is not None and dense[direction] is not None
        else None
        for direction in ("forward", "both")
    }
