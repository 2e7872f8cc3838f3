"""Standard patterns against their oracles: who attends whom, and what plans make of it."""

from __future__ import annotations

import numpy as np
import pytest

import attnlang
from tests.compiler.test_classification import tile_truth
from tests.oracles import MASKS
from tests.stdlib.cases import CASES, Case

WITH_ORACLE = sorted(set(attnlang.stdlib.names()) & set(MASKS))
TILES: dict[int, tuple[object, ...]] = {
    1: (None, (16, 8), (5, 7)),
    2: (None, ((4, 4), (2, 8)), ((3, 5), (5, 3))),
    3: (None, ((2, 3, 2), (1, 4, 4))),
}


def test_every_pattern_with_an_oracle_is_compared() -> None:
    assert {case.name for case in CASES} == set(WITH_ORACLE)


@pytest.mark.parametrize("name", WITH_ORACLE)
def test_the_oracle_takes_every_parameter(name: str) -> None:
    """Nothing of a pattern is left out of the comparison."""
    varied = {p for case in CASES if case.name == name for p in case.params}
    assert varied == set(attnlang.load(f"stdlib:{name}").params)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_masks(case: Case) -> None:
    drawn = case.oracle()
    found = case.attention.mask(case.sizes, case.heads, **case.tensors).numpy()
    assert found.dtype == np.bool_
    assert found.ndim == drawn.ndim
    shape = (*drawn.shape[:-3], case.heads, *drawn.shape[-2:])
    np.testing.assert_array_equal(np.broadcast_to(found, shape), np.broadcast_to(drawn, shape))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_plans(case: Case) -> None:
    drawn = case.oracle()
    first = drawn[0] if drawn.ndim == 4 else drawn
    by_head = np.broadcast_to(first, (case.heads, *first.shape[1:]))
    for tile in TILES[len(case.pattern.ir.q_axes)]:
        plan = case.attention.plan(case.sizes, case.heads, tile=tile, **case.tensors)
        assert plan.exact
        assert plan.pairs == by_head.sum()
        for head in range(case.heads):
            np.testing.assert_array_equal(
                plan.tile_map(head), tile_truth(by_head[head], plan, head)
            )


@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_every_pattern_says_where_it_is_from(name: str) -> None:
    pattern = attnlang.load(f"stdlib:{name}")
    assert pattern.name == name
    assert pattern.meta.fidelity in ("verified", "interpretation")
    assert pattern.meta.paper
    assert pattern.meta.year
    assert pattern.meta.doc
