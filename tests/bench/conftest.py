"""Workloads small enough for a test. Nothing here looks at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attnlang.bench.suite.contender import Ready, Skipped
from attnlang.bench.suite.run import Step
from attnlang.bench.suite.sequences import DECAY, DOCUMENTS, MOBA, SEER, WINDOW, line
from attnlang.bench.suite.task import Task, prepare
from attnlang.bench.suite.workload import Shape, Workload

TINY: dict[str, tuple[Workload, Shape]] = {
    "window": (WINDOW, line(96, 4, 8, 2, window=8)),
    "documents": (DOCUMENTS, line(96, 2, 8)),
    "seer": (SEER, line(96, 2, 8, 1, block=8, by="ratio", ratio=0.2)),
    "moba": (MOBA, line(96, 2, 8, block=8, topk=3)),
    "lightning": (DECAY, line(96, 2, 8)),
    "image": (
        Workload("image", "stdlib:neighborhood_2d", "", {}),
        Shape({"y": 9, "x": 11}, 2, 8, {"window": 5}),
    ),
}


@pytest.fixture(params=sorted(TINY))
def tiny(request: pytest.FixtureRequest) -> Task:
    workload, shape = TINY[request.param]
    return prepare(workload, shape, torch.device("cpu"), torch.float32)


def tiny_step(name: str) -> Step:
    workload, shape = TINY[name]
    return Step(replace(workload, shapes={"quick": (shape,)}), shape)


def absent(task: Task) -> Ready:
    raise Skipped("not here")
