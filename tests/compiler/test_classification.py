"""Tiles of random patterns: empty, full and partial as brute force says, by every path there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis import classify, diagonals, elements, products, tile_pairs
from attnlang.compiler.layout import choose
from attnlang.compiler.plan.plan import Plan
from tests.strategies import Program, decoding, programs, tiles

Bools = npt.NDArray[np.bool_]
quick = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
thorough = settings(quick, max_examples=4000)
SHAPES = {"line": ("n",), "image": ("y", "x"), "video": ("t", "y", "x")}
LONGEST = {"line": 40, "image": 7, "video": 4}


def any_program(shape: str) -> st.SearchStrategy[Program]:
    return programs(axes=SHAPES[shape], longest=LONGEST[shape])


def truth(program: Program) -> Bools:
    """The mask, or no example when the numbers of a text do not fit."""
    try:
        return program.mask()
    except attnlang.PatternError as error:
        assert {d.code for d in error.diagnostics} <= {"AL409", "AL410"}, error
        assume(False)
        raise


def tile_truth(mask: Bools, plan: Plan, head: int = 0) -> npt.NDArray[np.uint8]:
    """0 empty, 1 partial, 2 full for every tile pair of the head's layout, element by element."""
    layout = next(g.layout for g in plan.heads if head in g.heads)
    q, k = layout.q.tokens, layout.k.tokens
    for tokens, length in ((q, mask.shape[0]), (k, mask.shape[1])):
        assert sorted(tokens[tokens >= 0].tolist()) == list(range(length))
    values = mask[np.maximum(q, 0)[:, None, :, None], np.maximum(k, 0)[None, :, None, :]]
    real = (q >= 0)[:, None, :, None] & (k >= 0)[None, :, None, :]
    some = (values & real).any(axis=(2, 3))
    every = (values | ~real).all(axis=(2, 3))
    return np.where(some, np.where(every, 2, 1), 0).astype(np.uint8)


def check(program: Program, tile: Any) -> None:
    """Everything a plan says, with its run-time tensors known and with them unknown."""
    masks = truth(program)
    plan = program.plan(tile)
    assert plan.exact or classify.ELEMENT_BUDGET == 0
    assert plan.pairs == masks.sum()
    sound(plan, masks)
    for group in plan.heads:
        table = group.table
        np.testing.assert_array_equal(table.transposed().dense(), table.dense().T)
        np.testing.assert_array_equal(table.live_per_row(), (table.dense() > 0).sum(axis=1))
        counts = np.bincount(table.dense().ravel(), minlength=3)
        assert table.tiles() == dict(zip(("empty", "partial", "full"), counts, strict=True))
    sound(program.plan(tile, inputs=False), masks)


def sound(plan: Plan, masks: Bools) -> None:
    """No tile is called empty or full that is not; all are told apart when the plan is exact."""
    for head, mask in enumerate(masks):
        found, real = plan.tile_map(head), tile_truth(mask, plan, head)
        assert not ((found == 0) & (real > 0)).any(), "an attending pair was called empty"
        assert not ((found == 2) & (real < 2)).any(), "a masked pair was called full"
        if plan.exact and classify.ELEMENT_BUDGET:
            np.testing.assert_array_equal(found, real)


@pytest.fixture(params=["enumerated", "slabs", "solved", "boxes", "undecided"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the layers decides: factors per axis, with slabs or at once, key intervals, or interval arithmetic, with
    elements in small pieces where that does not, or with no elements at all; in small slabs, and
    along diagonals from three tiles on."""
    if request.param == "slabs":
        monkeypatch.setattr(tile_pairs, "kinds_by_first_axes", lambda *_: None)
        monkeypatch.setattr(tile_pairs, "SLAB", 16)
    if request.param == "solved":
        monkeypatch.setattr(classify, "DENSE_AXIS", 2)
        monkeypatch.setattr(choose, "ENUMERATED", 8)
    if request.param in ("boxes", "undecided"):
        monkeypatch.setattr(products, "clauses", lambda *_: None)
        monkeypatch.setattr(tile_pairs, "SLAB", 16)
        monkeypatch.setattr(diagonals, "FEWEST", 3)
        monkeypatch.setattr(elements, "CHUNK", 64)
    if request.param == "undecided":
        monkeypatch.setattr(classify, "ELEMENT_BUDGET", 0)
    return str(request.param)


@pytest.mark.parametrize("shape", SHAPES)
@quick
@given(data=st.data())
def test_tiles_are_what_brute_force_says(path: str, shape: str, data: st.DataObject) -> None:
    program = data.draw(any_program(shape))
    check(program, data.draw(tiles(program)))


@pytest.mark.parametrize("shape", SHAPES)
@quick
@given(data=st.data())
def test_in_the_layout_the_planner_chooses(path: str, shape: str, data: st.DataObject) -> None:
    check(data.draw(any_program(shape)), None)


@quick
@given(
    program=programs(runtime=False, segments=False),
    queries=st.integers(1, 9),
    offset=st.integers(0, 60),
    tile=st.sampled_from([None, (3, 5), (4, 4)]),
)
def test_decode_steps(path: str, program: Program, queries: int, offset: int, tile: Any) -> None:
    check(decoding(program, queries, offset), tile)


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
@thorough
@given(data=st.data())
def test_many_more_programs(path: str, shape: str, data: st.DataObject) -> None:
    program = data.draw(any_program(shape))
    check(program, data.draw(st.none() | tiles(program)))
