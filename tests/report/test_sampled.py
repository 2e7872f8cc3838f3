"""The keys of a sample of queries, against every pair looked at by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.report.dense import keys_at, mask
from attnlang.compiler.report.relation import relations

LINES = (
    "q.n % {m} == k.n // {m} or k.n <= q.n - {m}",
    "abs(q.n - k.n) <= {m} or k.n % 7 != q.n % 7",
    "q.index - k.index < ilog2(k.n + {m})",
    "q.n // {m} != k.n % 5 and k.n // {m} * {m} <= 9",
)
GRIDS = (
    "abs(q.y - k.y) <= {m} and abs(q.x - k.x) <= 2",
    "q.y * {m} + q.x >= k.y * {m} + k.x",
    "q.index - k.index <= {m} and k.x <= q.x",
)


def agree(pattern: attnlang.Pattern, sizes: dict[str, int], places: list[int]) -> None:
    problem = pattern.problem(sizes)
    for relation in relations(problem):
        start = next(x.start for x in relation.q if x.segment.is_grid)
        expected = mask(relation).sum(axis=1)[[start + p for p in places]]
        assert keys_at(relation, np.array(places)).tolist() == expected.tolist()


@given(st.sampled_from(LINES), st.integers(1, 40), st.integers(1, 600), st.data())
@settings(max_examples=80, deadline=None)
def test_of_a_sequence(condition: str, m: int, n: int, data: st.DataObject) -> None:
    text = f"pattern p():\n    over n\n    attend where {condition.format(m=m)}\n"
    places = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    agree(attnlang.parse(text), {"n": n}, places)


@given(st.sampled_from(GRIDS), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.data())
@settings(max_examples=80, deadline=None)
def test_of_a_grid(condition: str, m: int, y: int, x: int, data: st.DataObject) -> None:
    text = f"pattern p():\n    over y, x\n    attend where {condition.format(m=m)}\n"
    places = data.draw(st.lists(st.integers(0, y * x - 1), min_size=1, max_size=5))
    agree(attnlang.parse(text), {"y": y, "x": x}, places)


@pytest.mark.parametrize("prefix", [0, 3, 200])
def test_beside_a_prefix(prefix: int) -> None:
    text = "pattern p():\n    over n\n    prefix cls: {}\n    attend where q in cls or k in cls or near(n, 5)\n"
    agree(attnlang.parse(text.format(prefix)), {"n": 300}, [0, 7, 150, 299])
