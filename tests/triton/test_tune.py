"""Choosing the fastest of a kernel's choices: with a clock and times that are made up."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from triton.runtime.errors import OutOfResources

import attnlang
from attnlang.backends.triton import tune
from attnlang.backends.triton.choices import Choice, Shape, candidates
from attnlang.backends.triton.form import Kernel
from attnlang.backends.triton.tune import Tried, fastest, launched, tuning
from attnlang.cli.commands.tune import tune as tune_pattern
from tests.triton.test_attention import interpreted
from tests.triton.test_module import kernels

SHAPE = Shape("bf16", 64, 64, (128, 128), described=True)
CPU = torch.device("cpu")
LENGTHS = (1000, 1000)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNLANG_CACHE", str(tmp_path))
    monkeypatch.setattr(tune, "_known", {})
    return tmp_path / "tuned"


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return kernels("causal", {"n": 64}).forward


class Machine:
    """Runs nothing: a choice takes as long as it is told to, a measurement ``cost``."""

    def __init__(self, times: Callable[[Choice], float], cost: float = 1.0) -> None:
        self.times, self.cost, self.now = times, cost, 0.0
        self.spills: dict[Choice, int] = {}
        self.unfit: set[Choice] = set()
        self.last: Choice | None = None
        self.runs = 0

    def run(self, choice: Choice) -> Any:
        self.last, self.runs = choice, self.runs + 1
        if choice in self.unfit:
            raise OutOfResources(300_000, 232_448, "shared memory")
        return Namespace(n_spills=self.spills.get(choice, 0))

    def measure(self, launch: Callable[[], Any]) -> float:
        launch()
        assert self.last is not None
        self.now += self.cost
        return self.times(self.last)

    def clock(self) -> float:
        return self.now


def choose(machine: Machine, kernel: Kernel, seconds: float = 1e6) -> tuple[Choice, list[str]]:
    said: list[str] = []
    with tuning(seconds, said.append, machine.measure, machine.clock):
        found = launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run)
    return found, said


def every() -> tuple[Choice, ...]:
    return candidates("forward", SHAPE, False)


@pytest.mark.parametrize("best", range(len(every())))
def test_the_fastest_is_kept_and_found_again(best: int, kernel: Kernel, cache: Path) -> None:
    machine = Machine(lambda c: 1.0 if c == every()[best] else 2.0)
    found, said = choose(machine, kernel)
    assert found == every()[best]
    assert len(said) == len(every())
    tune._known.clear()
    measured = machine.runs
    assert launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run) == found
    assert launched(kernel, "text", SHAPE, (900, 513), CPU, machine.run) == found
    assert launched(kernel, "text", SHAPE, (4000, 4000), CPU, machine.run) == every()[0]
    assert launched(kernel, "other text", SHAPE, LENGTHS, CPU, machine.run) == every()[0]
    assert machine.runs == measured + 4
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())["kernel"] == "forward"


def test_what_does_not_fit_and_what_spills_is_dropped(kernel: Kernel) -> None:
    machine = Machine(lambda c: float(every().index(c)))
    machine.unfit = {every()[0]}
    machine.spills = {every()[1]: 8}
    found, said = choose(machine, kernel)
    assert found == every()[2]
    assert "does not fit" in said[0]
    assert "shared memory" in said[0]
    assert "8 registers spilled" in said[1]


def test_the_first_choice_that_fits_is_launched_and_kept_in_mind(kernel: Kernel) -> None:
    machine = Machine(lambda _: 1.0)
    machine.unfit = set(every()[:2])
    for runs in (3, 4):
        found = launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run)
        assert found == machine.last == every()[2]
        assert machine.runs == runs


def test_what_a_device_has_no_room_for_is_refused(kernel: Kernel) -> None:
    machine = Machine(lambda _: 1.0)
    machine.unfit = set(every())
    wanted = "`forward` does not fit interpreter.* 300000 bytes of shared memory of 232448"
    with pytest.raises(attnlang.Unsupported, match=wanted):
        launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run)
    assert machine.runs == len(every())


def test_a_choice_that_spills_is_not_taken_unmeasured(kernel: Kernel) -> None:
    machine = Machine(lambda _: 1.0)
    machine.unfit = {every()[0]}
    machine.spills = {every()[1]: 8}
    for runs in (3, 4):
        assert launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run) == every()[2]
        assert machine.runs == runs


def test_where_all_spill_the_one_that_spills_least_is_taken(kernel: Kernel) -> None:
    machine = Machine(lambda _: 1.0)
    machine.spills = {c: 40 - i for i, c in enumerate(every())}
    for runs in (len(every()), len(every()) + 1):
        found = launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run)
        assert found == every()[-1]
        assert machine.runs == runs


def test_a_measured_choice_may_spill(kernel: Kernel) -> None:
    machine = Machine(lambda c: 1.0 if c == every()[0] else 2.0)
    machine.spills = dict.fromkeys(every(), 8)
    assert choose(machine, kernel)[0] == every()[0]
    assert launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run) == every()[0]


def test_where_all_spill_the_fastest_is_taken() -> None:
    one, two = every()[:2]
    assert fastest((Tried(one, 2.0, 4), Tried(two, 1.0, 8))) == two
    assert fastest((Tried(one, None, why="does not fit"),)) is None


def test_time_is_bounded(kernel: Kernel) -> None:
    machine = Machine(lambda c: -float(every().index(c)), cost=10.0)
    found, said = choose(machine, kernel, seconds=25.0)
    assert machine.now <= 35.0
    assert found == every()[2]
    assert "no time left" in said[-1]


def test_nothing_measured_keeps_the_first_choice(kernel: Kernel, cache: Path) -> None:
    machine = Machine(lambda _: 1.0)
    assert choose(machine, kernel, seconds=0.0)[0] == every()[0]
    assert not cache.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"choice": {"rows": 3}}', '{"choice": 3}'])
def test_files_that_are_none_are_passed_over(text: str, kernel: Kernel, cache: Path) -> None:
    machine = Machine(lambda c: -float(every().index(c)))
    choose(machine, kernel)
    (file,) = cache.iterdir()
    file.write_text(text)
    tune._known.clear()
    assert launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run) == every()[0]


def test_a_choice_that_is_no_candidate_is_not_taken(kernel: Kernel, cache: Path) -> None:
    machine = Machine(lambda _: 1.0)
    choose(machine, kernel)
    (file,) = cache.iterdir()
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "choice": {**about["choice"], "rows": 48}}))
    tune._known.clear()
    assert launched(kernel, "text", SHAPE, LENGTHS, CPU, machine.run) == every()[0]


@interpreted
def test_a_pattern_is_tuned_forward_and_backward() -> None:
    args = Namespace(heads=2, kv_heads=1, head_dim=16, batch=1, dtype="fp32", seconds=1000)
    pattern = attnlang.load("stdlib:sliding_window", window=9)
    said: list[str] = []
    times = iter(range(1000))

    def measure(launch: Callable[[], Any]) -> float:
        launch()
        return 1.0 + next(times)

    session = tune_pattern(pattern, {"n": 70}, args, {}, "cpu", said.append, measure)
    names = [x.kernel for x in session.results]
    assert names == ["forward", "query_gradient", "key_gradient"]
    for one in session.results:
        assert one.best == one.tried[0].choice
        assert "times the first" in one.line
    assert len(said) == sum(len(x.tried) for x in session.results)
