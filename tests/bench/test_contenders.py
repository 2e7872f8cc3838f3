"""What is compared: the same function for all, and nobody is timed who computes another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attnlang.backends.reference.attend import attend, mask
from attnlang.bench.suite import torch_contenders
from attnlang.bench.suite.contender import Contender, Ready, Skipped
from attnlang.bench.suite.limits import TooSlow, within
from attnlang.bench.suite.measure import Patience, admitted, measure
from attnlang.bench.suite.pairwise import mask_mod
from attnlang.bench.suite.run import WORKLOADS
from attnlang.bench.suite.task import Task, counted
from attnlang.bench.suite.torch_contenders import CONTENDERS, dense_mask
from attnlang.bench.suite.truth import some, truth

LITTLE = Patience(seconds=0.0, prepare=60.0, fewest=1)


def test_some_rows_of_the_reference_are_rows_of_the_whole(tiny: Task) -> None:
    rows = some(tiny.tokens, 12)
    whole, lse = attend(tiny.call)
    part, part_lse = attend(tiny.call, rows)
    assert len(rows) == 12
    torch.testing.assert_close(part, whole[:, :, rows])
    torch.testing.assert_close(part_lse, lse[:, :, rows])


def test_the_function_of_one_pair_is_the_mask(tiny: Task) -> None:
    problem, inputs = tiny.call.problem, tiny.call.inputs
    expected = mask(problem, inputs, torch.device("cpu"))
    attends = mask_mod(problem, inputs)
    for b, h, q, k in torch.randint(0, 10**6, (200, 4)) % torch.tensor(expected.shape):
        assert bool(attends(b, h, q, k)) == bool(expected[b, h, q, k])
    found = dense_mask(tiny, inputs.batch, problem.heads)
    assert torch.equal(found, expected.expand(found.shape))


def test_what_is_said_of_a_task(tiny: Task) -> None:
    expected = mask(tiny.call.problem, tiny.call.inputs, torch.device("cpu"))[0]
    later = torch.ones_like(expected).triu(1)
    assert tiny.causal == (not (expected & later).any())
    assert counted(tiny.call) == (int(expected.sum()), tiny.causal)
    assert tiny.pairs in (None, int(expected.sum()))
    assert (tiny.pairs is None) == (tiny.workload.definition is not None)
    dense = expected.shape[0] * (expected[0].numel() + tiny.tokens) // 2
    assert tiny.dense_pairs == (dense if tiny.causal else expected.numel())


def test_everybody_agrees_with_the_reference(tiny: Task) -> None:
    records = {r["name"]: r for r in measure(tiny, CONTENDERS, LITTLE)}
    assert records["attnlang"]["status"] == "measured"
    assert records["attnlang"]["errors"].keys() == {"out", "dq", "dk", "dv"}
    assert records["sdpa"]["status"] == "measured"
    assert records["attnlang triton"]["status"] == "skipped"
    linear = tiny.workload.definition is not None
    assert records["sdpa + mask"]["status"] == ("skipped" if linear else "measured")
    for record in records.values():
        assert (record["reason"] == "") == (record["status"] == "measured")


@pytest.mark.parametrize("what", ["output", "gradient"])
def test_who_is_wrong_is_not_timed(tiny: Task, what: str) -> None:
    def off(task: Task) -> Ready:
        right = task.run("auto")

        def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            out = right(q, k, v)
            return out * 1.01 if what == "output" else out + 0.01 * (v.sum() - v.sum().detach())

        return Ready(forward)

    right, wrong = measure(tiny, (CONTENDERS[0], Contender("off", off)), LITTLE)
    assert right["status"] == "measured"
    assert wrong["status"] == "wrong"
    assert "off by" in wrong["reason"]
    assert wrong["forward"] is wrong["both"] is None


def test_failures_are_said(tiny: Task) -> None:
    def breaks(task: Task) -> Ready:
        raise RuntimeError("no kernel in /opt/a-b/kernel.cpp\nand more")

    def skips(task: Task) -> Ready:
        raise Skipped("not here")

    answer = truth(tiny.call)
    record, ready = admitted(tiny, Contender("breaks", breaks), answer, 60.0)
    assert (record["status"], record["reason"], ready) == (
        "failed",
        "RuntimeError: no kernel in kernel.cpp",
        None,
    )
    record, ready = admitted(tiny, Contender("skips", skips), answer, 60.0)
    assert (record["status"], record["reason"], ready) == ("skipped", "not here", None)


def test_a_mask_too_large_is_refused(tiny: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    if tiny.workload.definition is not None:
        pytest.skip("never asks for a mask")
    monkeypatch.setattr("attnlang.bench.suite.contender.free_bytes", lambda device: 1000)
    with pytest.raises(Skipped, match="a mask of all pairs takes"):
        torch_contenders.sdpa_mask(tiny)


def forever() -> None:
    while True:
        pass


def in_other_words() -> None:
    try:
        forever()
    except Exception as error:
        raise RuntimeError("a compiler's own words") from error


def test_what_takes_too_long_is_stopped() -> None:
    with pytest.raises(TooSlow, match="not ready within"), within(0.05):
        forever()


def test_an_error_made_of_the_interruption_is_one() -> None:
    with pytest.raises(TooSlow), within(0.05):
        in_other_words()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_workloads_have_every_scale_and_bind(workload: object) -> None:
    from attnlang.bench.suite.workload import Workload

    assert isinstance(workload, Workload)
    assert workload.shapes.keys() == {"cuda", "cpu", "quick"}
    assert workload.claim
    for shapes in workload.shapes.values():
        for shape in shapes:
            pattern = workload.load(shape)
            bind = pattern.problem if pattern.ir.program is None else pattern.bound
            assert bind(shape.sizes, shape.heads, kv_heads=shape.kv_heads, head_dim=shape.dim)


def test_names_are_told_apart() -> None:
    names = [w.name for w in WORKLOADS]
    assert len(set(names)) == len(names)
    assert replace(WORKLOADS[0], name="x") != WORKLOADS[0]
