"""One workload: everybody made ready, held to the truth, then timed in turns."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from attnlang.bench.suite.contender import Contender, Ready, Skipped, synchronize
from attnlang.bench.suite.limits import TooSlow, peak_bytes, within
from attnlang.bench.suite.task import Task
from attnlang.bench.suite.truth import TOLERANCE, Truth, error, truth

Tensor = torch.Tensor
Status: TypeAlias = Literal["measured", "skipped", "failed", "wrong"]
Record: TypeAlias = dict[str, Any]
"""What becomes a contender's entry of the result."""

NAMES = ("dq", "dk", "dv")
FLUSHED_BYTES = 256 << 20
"""Written between runs on a GPU, so that its cache holds nothing of the last."""


@dataclass(frozen=True, slots=True)
class Patience:
    """seconds: for the rounds of one direction. prepare: for one contender to get ready."""

    seconds: float
    prepare: float
    fewest: int = 3
    most: int = 30


def measure(
    task: Task,
    contenders: Sequence[Contender],
    patience: Patience,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Record]:
    """Each contender's record, in order. tell: hears what is about to be done."""
    records: dict[str, Record] = {}
    ready: dict[str, Ready] = {}
    answer = truth(task.call)
    for contender in contenders:
        tell(contender.name)
        record, found = admitted(task, contender, answer, patience.prepare)
        records[contender.name] = record
        if found is not None:
            ready[contender.name] = found
    tell("timing")
    for direction in ("forward", "both"):
        works = {
            name: _work(task, one, direction)
            for name, one in ready.items()
            if direction == "forward" or records[name]["no_backward"] == ""
        }
        for name, seconds in in_turns(works, task.q.device, patience).items():
            records[name][direction] = summary(seconds) | {
                "peak_bytes": peak_bytes(works[name], task.q.device),
                "tflops": _tflops(task, direction, statistics.median(seconds)),
            }
    compare(records, contenders[0].name)
    return list(records.values())


def admitted(
    task: Task, contender: Contender, answer: Truth, seconds: float
) -> tuple[Record, Ready | None]:
    """Make a contender ready and hold it to the truth; None and the reason where it is out."""
    record: Record = {
        "name": contender.name, "status": "measured", "reason": "", "no_backward": "",
        "seconds": {}, "errors": {}, "forward": None, "both": None,
    }  # fmt: skip
    try:
        with within(seconds):
            ready = contender.prepare(task)
            expected = answer if ready.answers is None else truth(ready.answers)
            errors = {"out": _forward_error(task, ready, expected)}
    except Skipped as error:
        return record | {"status": "skipped", "reason": str(error)}, None
    except (TooSlow, torch.OutOfMemoryError) as error:
        return record | {"status": "failed", "reason": short(error)}, None
    except Exception as error:  # whatever a compiler raises is its answer
        return record | {"status": "failed", "reason": short(error)}, None
    record |= {"seconds": dict(ready.seconds), "errors": errors, "no_backward": ready.no_backward}
    if not ready.no_backward:
        try:
            with within(seconds):
                errors |= _gradient_errors(task, ready, expected)
        except Exception as error:
            record["no_backward"] = short(error)
    worst = max(errors.values())
    if worst > TOLERANCE[task.q.dtype]:
        return record | {"status": "wrong", "reason": f"off by {worst:.1e}"}, None
    return record, ready


def _tflops(task: Task, direction: str, seconds: float) -> float | None:
    """Of the work that has to be done: forward and backward are 3.5 times the forward pass."""
    factor = 1.0 if direction == "forward" else 3.5
    return None if task.flops is None else factor * task.flops / seconds / 1e12


def short(error: BaseException) -> str:
    """The error's first line, without the folders of this machine."""
    lines = str(error).strip().splitlines()
    said = re.sub(r"(?<![\w.])/(?:[\w.-]+/)+", "", lines[0]) if lines else ""
    return f"{type(error).__name__}: {said}"[:200]


def _forward_error(task: Task, ready: Ready, expected: Truth) -> float:
    with torch.no_grad():
        out = ready.forward(task.q, task.k, task.v)
    return error(out[:, :, expected.rows], expected.out)


def _gradient_errors(task: Task, ready: Ready, expected: Truth) -> dict[str, float]:
    leaves = [x.detach().requires_grad_() for x in (task.q, task.k, task.v)]
    out = ready.forward(*leaves)
    dq, dk, dv = torch.autograd.grad(out, leaves, expected.weights.to(out.dtype))
    found = (dq[:, :, expected.rows], dk, dv)
    return {n: error(x, y) for n, x, y in zip(NAMES, found, expected.grads, strict=True)}


def _work(task: Task, ready: Ready, direction: str) -> Callable[[], object]:
    if direction == "forward":

        def forward() -> object:
            with torch.no_grad():
                return ready.forward(task.q, task.k, task.v)

        return forward
    leaves = [x.detach().requires_grad_() for x in (task.q, task.k, task.v)]
    generator = torch.Generator().manual_seed(3)
    shape = (*task.q.shape[:3], task.v.shape[3])
    weights = torch.randn(shape, generator=generator).to(task.q)

    def both() -> object:
        return torch.autograd.grad(ready.forward(*leaves), leaves, weights)

    return both


def in_turns(
    works: Mapping[str, Callable[[], object]], device: torch.device, patience: Patience
) -> dict[str, list[float]]:
    """Seconds of each work, one run of each a round; as many rounds as the patience allows."""
    first = {name: clocked(work, device) for name, work in works.items()}
    again = {name: clocked(work, device) for name, work in works.items()}
    total = sum(min(first[name], again[name]) for name in works)
    rounds = int(patience.seconds / max(total, 1e-9))
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(min(max(rounds, patience.fewest), patience.most)):
        for name, work in works.items():
            seconds[name].append(clocked(work, device))
    return seconds


def clocked(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, by the GPU's clock where there is one."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    torch.empty(FLUSHED_BYTES, dtype=torch.int8, device=device).zero_()
    synchronize(device)
    start_event, stop_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start_event.record()
    work()
    stop_event.record()
    synchronize(device)
    return float(start_event.elapsed_time(stop_event)) / 1e3


def summary(seconds: Sequence[float]) -> Record:
    """Median and spread; ``each`` has every round, for ratios within rounds."""
    return {
        "median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds),
        "rounds": len(seconds), "each_s": list(seconds),
    }  # fmt: skip


def compare(records: Mapping[str, Record], ours: str) -> None:
    """Add to each direction how many times as long as ours it took: the median over rounds."""
    for direction in ("forward", "both"):
        base = records[ours][direction]
        for record in records.values():
            there = record[direction]
            if base is not None and there is not None:
                there["ratio"] = statistics.median(_ratios(there["each_s"], base["each_s"]))


def _ratios(theirs: Sequence[float], ours: Sequence[float]) -> Iterator[float]:
    return (a / b for a, b in zip(theirs, ours, strict=True))
