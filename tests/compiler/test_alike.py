"""Tokens that a predicate cannot tell apart, and grids planned as one axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis.alike import cells, census, distinct, numbered, numbered_together
from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.plan.flat import flat
from attnlang.compiler.problem.problem import Problem

CONDITIONS = (
    "q.n // {m} == k.n // {m}",
    "q.n // {m} >= k.n // 3",
    "q.n % {m} == k.n % {m} or k.n < {m}",
    "q.n // {m} != k.n % 5 and k.n // {m} * {m} <= 9",
    "q.n - k.n < {m} and k.n // 4 == 1",
    "max(q.n // {m}, 2) == k.n // {m}",
)


def problem_of(condition: str, n: int) -> Problem:
    text = f"pattern p():\n    over n\n    attend where {condition}\n"
    return attnlang.parse(text).problem({"n": n})


@given(
    st.sampled_from(CONDITIONS), st.integers(1, 7), st.integers(1, 40), st.integers(1, 9),
    st.integers(1, 9),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_one_token_answers_for_all_alike(
    condition: str, m: int, n: int, q_tile: int, k_tile: int
) -> None:
    problem = problem_of(condition.format(m=m), n)
    layout = box_layout(problem, (q_tile,), (k_tile,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    where, known = problem.groups[0].attend.where, Known()
    rows, columns = (x.ravel() for x in np.indices((q.tiles, k.tiles)))
    a, b = cells(where, q, Side.Q, known), cells(where, k, Side.K, known)
    r, c, copies = distinct(a, b, rows, columns)
    found = Elements(a, b, known).any_and_all(where, r, c)
    expected = Elements(q, k, known).any_and_all(where, rows, columns)
    assert np.array_equal(found[0][copies], expected[0])
    assert np.array_equal(found[1][copies], expected[1])


def test_a_tile_of_one_block_is_one_element() -> None:
    problem = problem_of("q.n // 64 >= k.n // 64", 1 << 12)
    layout = box_layout(problem, (32,), (64,))
    where = problem.groups[0].attend.where
    q = cells(where, layout.q.extents[0], Side.Q, Known())
    k = cells(where, layout.k.extents[0], Side.K, Known())
    assert q.capacity == k.capacity == 1
    rows, columns = (x.ravel() for x in np.indices((128, 64)))
    assert len(distinct(q, k, rows, columns)[0]) == 64 * 64


@pytest.mark.parametrize("n", [1, 17, 40])
def test_census_counts_every_token_once(n: int) -> None:
    problem = problem_of("q.n // 8 == k.n // 8 or k.n % 3 == 0", n)
    extent = problem.k[0]
    where = problem.groups[0].attend.where
    places, counts = census(where, extent, Side.K, Known())
    assert counts.sum() == n
    assert len(places) == len({(p // 8, p % 3 == 0) for p in range(n)})


FRAMES = """pattern p():
    over t, s
    attend where q.index // 8 >= k.index // 8
"""


def test_places_in_the_sequence_are_one_axis() -> None:
    pattern = attnlang.parse(FRAMES)
    problem = pattern.problem({"t": 6, "s": 12})
    assert [x.lengths for x in flat(problem).q] == [(72,)]
    plan = pattern.plan({"t": 6, "s": 12})
    blocks = np.arange(72) // 8
    assert plan.pairs == int((blocks[:, None] >= blocks[None, :]).sum())
    assert np.array_equal(
        pattern.mask({"t": 6, "s": 12})[0].numpy(), blocks[:, None] >= blocks[None, :]
    )


def test_coordinates_keep_their_axes() -> None:
    pattern = attnlang.parse(FRAMES.replace("k.index // 8", "k.s"))
    problem = flat(pattern.problem({"t": 6, "s": 12}))
    assert [x.axes for x in (*problem.q, *problem.k)] == [("index",), ("t", "s")]


@given(
    st.lists(st.integers(-(2**62), 2**62) | st.integers(-3, 9), max_size=30),
    st.sampled_from([np.int64, np.int32, np.float64, np.bool_]),
)
def test_values_are_numbered_in_ascending_order(given_: list[int], dtype: type) -> None:
    values = np.array([x % 2**31 if dtype is np.int32 else x for x in given_]).astype(dtype)
    distinct_values = sorted(set(values.tolist()))
    assert numbered(values).tolist() == [distinct_values.index(x) for x in values.tolist()]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(-9, 9)), max_size=20))
def test_combinations_are_numbered_apart(rows: list[tuple[int, bool, int]]) -> None:
    parts = [np.array([r[i] for r in rows]) for i in range(3)]
    found = numbered_together(parts, (len(rows),)).tolist()
    assert sorted(set(found)) == list(range(len(set(rows))))
    assert len(set(zip(found, rows, strict=True))) == len(set(rows))
