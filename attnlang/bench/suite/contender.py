"""What takes part in a comparison."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from attnlang.backends.call import Call
from attnlang.bench.suite.limits import free_bytes
from attnlang.bench.suite.task import Task

Tensor = torch.Tensor
Forward: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


class Skipped(Exception):
    """A contender does not take part, and why."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A contender that can be called.

    forward: q, k, v to the output ``[B, H, N, D]``. no_backward: why it is not trained; empty if it
    is. seconds: what it did before, by name. answers: the call whose truth it is held to, where
    that is not the task's own (dense attention computes another function).
    """

    forward: Forward
    no_backward: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    answers: Call | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """prepare: makes it ready for a task. Raises Skipped."""

    name: str
    prepare: Callable[[Task], Ready]


def first_call(forward: Forward, task: Task) -> float:
    """Seconds of the first forward call: whatever is compiled or planned then."""
    start = time.perf_counter()
    with torch.no_grad():
        forward(task.q, task.k, task.v)
    synchronize(task.q.device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def demand(count: int, task: Task, what: str) -> None:
    """Raises Skipped where ``what`` would take more than two thirds of the memory there is."""
    gc.collect()
    free = free_bytes(task.q.device)
    if count > free * 2 // 3:
        raise Skipped(f"{what} takes {count / 1e9:.0f} GB, of {free / 1e9:.0f} GB that are free")
