"""Tiles told apart by tensor operations: never wrong, and as good as the host where that is due."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.backends.arguments import check_inputs
from attnlang.backends.on_device import DeviceClassifier, DeviceTable, runs
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from tests.compiler.test_classification import LONGEST, SHAPES, tile_truth, truth
from tests.strategies import Program, programs, tiles

CPU = torch.device("cpu")
Kinds = npt.NDArray[np.uint8]


def classified(plan: Plan, inputs: dict[str, Any], batch: int = 1) -> tuple[DeviceTable, ...]:
    return DeviceClassifier(plan, CPU)(check_inputs(plan.problem, inputs, batch, CPU))


def kinds(table: DeviceTable, element: int = 0) -> Kinds:
    """0 empty, 1 partial, 2 full."""
    assert not (table.partial & table.full).any()
    found = table.partial[element].to(torch.uint8) + 2 * table.full[element].to(torch.uint8)
    return found.numpy()


def planned_without_inputs(program: Program, tile: Any) -> Plan:
    return program.plan(tile, inputs=False)


def reads_inputs(plan: Plan) -> bool:
    """Do run-time inputs decide any pair? Otherwise the plan says all there is."""
    names = {i.name for i in plan.problem.pattern.inputs}
    leaves = (x for group in plan.heads for x in walk(group.where))
    return any(isinstance(x, e.TokenInput | e.Table) and x.name in names for x in leaves)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_tile_is_called_what_it_is_not(shape: str, data: st.DataObject) -> None:
    program = data.draw(programs(axes=SHAPES[shape], longest=LONGEST[shape]))
    masks = truth(program)
    plan = planned_without_inputs(program, data.draw(st.none() | tiles(program)))
    tables = [x for part in plan.parts for x in classified(part, program.tensors)]
    groups = [g for part in plan.parts for g in part.heads]
    for group, table in zip(groups, tables, strict=True):
        found, real = kinds(table), tile_truth(masks[group.heads[0]], plan, group.heads[0])
        assert not ((found == 0) & (real > 0)).any(), "an attending pair was called empty"
        assert not ((found == 2) & (real < 2)).any(), "a masked pair was called full"
        if not reads_inputs(plan) and plan.exact:
            np.testing.assert_array_equal(found, real)


EXACT = (
    ("q.doc == k.doc", "int[batch, n] sorted"),
    ("q.doc == k.doc and causal(n)", "int[batch, n] sorted"),
    ("q.doc >= k.doc", "int[batch, n]"),
    ("k.doc < 2", "int[batch, n]"),
    ("2 * k.doc // 3 + q.doc > 1", "int[batch, n]"),
)


@pytest.mark.parametrize(("where", "kind"), EXACT)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_as_good_as_the_host(where: str, kind: str, data: st.DataObject) -> None:
    """Consecutive document ids and thresholds: least and greatest values say everything."""
    length = data.draw(st.integers(1, 60))
    steps = data.draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
    doc = np.cumsum(steps)[None]
    text = f"pattern p:\n    over n\n    input doc: {kind}\n    attend where {where} empty zero\n"
    pattern = attnlang.parse(text)
    tile = data.draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))
    host = pattern.plan({"n": length}, tile=tile, doc=doc)
    assume(host.exact)
    (table,) = classified(pattern.plan({"n": length}, tile=tile), {"doc": torch.as_tensor(doc)})
    np.testing.assert_array_equal(kinds(table), host.tile_map())


def test_every_batch_element_has_its_own() -> None:
    pattern = attnlang.load("stdlib:lca_causal_document")
    doc = torch.stack([torch.arange(200) // n for n in (30, 7, 200)])
    plan = pattern.plan({"n": 200}, tile=16)
    (table,) = classified(plan, {"doc": doc}, batch=3)
    for i in range(3):
        host = pattern.plan({"n": 200}, tile=16, doc=doc[i : i + 1].numpy())
        np.testing.assert_array_equal(kinds(table, i), host.tile_map())
        np.testing.assert_array_equal(kinds(table.transposed(), i), host.tile_map().T)


def test_an_absent_optional_input_reads_zero() -> None:
    text = (
        "pattern p:\n    over n\n    input far: bool[batch, n] optional\n"
        "    attend where causal(n) and (band(n, 4) or k.far) empty zero\n"
    )
    pattern = attnlang.parse(text)
    (table,) = classified(pattern.plan({"n": 64}, tile=8), {})
    assert kinds(table).sum() < 3 * 8
    (table,) = classified(pattern.plan({"n": 64}, tile=8), {"far": torch.ones(1, 64, dtype=bool)})
    assert (kinds(table) > 0).sum() == 36


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_runs_of_tiles(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(1, n)) for n in (3, 4, 7)]
    bits = data.draw(
        st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    tiles = torch.tensor(bits).reshape(shape)
    made = runs(tiles)
    again = torch.zeros_like(tiles)
    for b in range(shape[0]):
        for r in range(shape[1]):
            before = -1
            for i in range(int(made.offsets[b, r]), int(made.offsets[b, r + 1])):
                start, stop = int(made.starts[b, i]), int(made.stops[b, i])
                assert before < start < stop
                again[b, r, start:stop] = True
                before = stop
    assert torch.equal(again, tiles)


def test_the_host_is_not_asked_for_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor becomes a number, a truth or an array once the classifier is made."""
    pattern = attnlang.load("stdlib:lca_causal_document")
    problem = pattern.problem({"n": 300})
    classifier = DeviceClassifier(make(problem), CPU)
    inputs = check_inputs(problem, {"doc": (torch.arange(300) // 50)[None]}, 1, CPU)

    def refuse(*_: object) -> None:
        raise AssertionError("the host waits for the device")

    for name in ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    (table,) = classifier(inputs)
    made = runs(table.partial)
    monkeypatch.undo()
    assert made.offsets[0, -1] > 0
