"""Stretches of queries that dense kernels take: every pair and no other, found where they are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given

import attnlang
from attnlang.compiler.analysis.stretches import Stretch, stretches
from attnlang.compiler.plan.plan import Plan
from tests.compiler.test_classification import any_program, quick, truth
from tests.strategies import Program

DOCS = torch.tensor([0] * 9 + [1] * 1 + [2] * 17 + [5] * 6)


def found_in(plan: Plan, group: int = 0, most: float = math.inf) -> tuple[Stretch, ...] | None:
    where = plan.heads[group].where
    return stretches(where, plan.problem.q[0], plan.problem.k[0], plan.known, most)


def drawn(found: tuple[Stretch, ...], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for s in found:
        block = mask[s.queries, s.keys]
        assert not block.any()
        assert not s.causal or block.shape[0] == block.shape[1]
        block |= np.tri(*block.shape, dtype=bool) if s.causal else True
    return mask


@quick
@given(program=any_program("line"))
def test_they_hold_what_attends(program: Program) -> None:
    masks = truth(program)
    plan = program.plan()
    if len(plan.problem.q) > 1 or len(plan.problem.k) > 1:
        return
    for i, group in enumerate(plan.heads):
        found = found_in(plan, i)
        if found is not None:
            for head in group.heads:
                np.testing.assert_array_equal(drawn(found, masks[head].shape), masks[head])


@pytest.mark.parametrize(
    ("where", "count", "causal"),
    [
        ("causal(n)", 1, True),
        ("true", 1, False),
        ("q.doc == k.doc and causal(n)", 4, True),
        ("q.doc == k.doc", 4, False),
        ("causal(n) and q.n - k.n < 33", 1, True),
        ("k.n // 8 <= q.n // 8", 5, False),
        ("block(n, 11)", 3, False),
        ("causal(n) and q.n >= 5", 0, True),
        ("causal(n) and q.n - k.n < 8", 0, True),
        ("causal(n) and q.n - k.n < 31", 3, True),
        ("causal(n) and k.n % 2 == 0", 0, True),
        ("causal(n) or k.n < 3", 0, True),
    ],
)
def test_where_they_are_found(where: str, count: int, causal: bool) -> None:
    text = f"pattern p:\n    over n\n    input doc: int[n] sorted\n    attend where {where}\n"
    plan = attnlang.parse(text).plan({"n": 33}, doc=DOCS)
    found = found_in(plan, most=9)
    assert len(found or ()) == count
    # One token of one key is either.
    assert all(s.causal is causal or s.queries.stop - s.queries.start == 1 for s in found or ())
