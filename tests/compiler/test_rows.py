"""Long sequences: sets of keys, remainders unwrapped, copied tiles and runs, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis import classify
from attnlang.compiler.analysis.elements import Elements
from attnlang.compiler.analysis.key_sets import KeySet
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.analysis.periods import unwrapped
from attnlang.compiler.analysis.repeats import representatives
from attnlang.compiler.ir import expr as e
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.plan.table import from_runs

PERIODIC = (
    "causal(n) and (q.n // 4 - k.n // 4 < 3 or (k.n // 4 + 1) % 5 == 0)",
    "k.n % 7 == 2 or band(n, 6)",
    "near(n, 9, edge=wrap)",
    "near(n, 6, 3, edge=wrap)",
    "near(n, 5, causal=true, edge=wrap)",
    "(k.n - 5) % len(n) <= (q.n - 5) % len(n) and (q.n - 5) % len(n) // 10 == (k.n - 5) % len(n) // 10",
    "(q.n // 4 - k.n // 4) % 3 == 0",
    "(q.n - k.n) % len(n) < 12 and k.n % 3 != 1",
    "q.n % 5 == 0 or k.n % 6 == 0",
)


def pattern_of(condition: str) -> attnlang.Pattern:
    return attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")


@pytest.mark.parametrize("condition", PERIODIC)
@pytest.mark.parametrize(("length", "tile"), [(50, (8, 8)), (61, (8, 4)), (97, (5, 7))])
def test_periodic_predicates_tile_by_tile(
    condition: str, length: int, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "DENSE_AXIS", 2)
    pattern = pattern_of(condition)
    mask = pattern.mask({"n": length})[0].numpy()
    plan = pattern.plan({"n": length}, tile=tile)
    assert plan.exact
    found = plan.tile_map()
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            part = mask[i * tile[0] : (i + 1) * tile[0], j * tile[1] : (j + 1) * tile[1]]
            assert found[i, j] == (2 if part.all() else int(part.any()))


@pytest.mark.parametrize("condition", PERIODIC)
@pytest.mark.parametrize("length", [23, 40])
def test_unwrapping_keeps_the_pairs(condition: str, length: int) -> None:
    pattern = pattern_of(condition)
    problem = pattern.problem({"n": length})
    layout = box_layout(problem, (length,), (length,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    found = clauses(problem.groups[0].attend.where)
    assert found is not None
    whole = np.zeros(1, dtype=np.int64)
    elements = Elements(q, k, Known())
    mask = np.zeros((length, length), dtype=bool)
    for clause in unwrapped(found, q, k):
        mask |= elements.evaluate(e.And((*clause, e.TRUE)), whole, whole)[0].astype(bool)
    assert np.array_equal(mask, pattern.mask({"n": length})[0].numpy())


def test_a_ring_falls_into_intervals() -> None:
    problem = pattern_of("near(n, 9, edge=wrap)").problem({"n": 1 << 20})
    layout = box_layout(problem, (64,), (64,))
    found = clauses(problem.groups[0].attend.where)
    assert found is not None
    cases = unwrapped(found, layout.q.extents[0], layout.k.extents[0])
    remainders = [x for clause in cases for x in clause if "%" in repr(x)]
    assert len(cases) == 3
    assert not remainders


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 3), st.data())
def test_key_sets(period: list[bool], repeats: int, data: st.DataObject) -> None:
    holds = (period * repeats)[: len(period) * repeats - data.draw(st.integers(0, 2))]
    keys = KeySet(len(holds), np.array(period[: len(holds)]))
    low = data.draw(st.integers(0, len(holds) + 2))
    high = data.draw(st.integers(0, len(holds)))
    first, stop = keys.shrink(np.array([low]), np.array([high]))
    inside = [i for i in range(low, high) if holds[i]]
    if inside:
        assert (first[0], stop[0]) == (inside[0], inside[-1] + 1)
    else:
        assert stop[0] <= first[0]
    assert keys.below(np.array([high]))[0] == sum(holds[:high])
    assert keys.solid(np.array([low]), np.array([high])) == all(holds[low:high])
    size = data.draw(st.integers(1, 6))
    tiles = [any(holds[i : i + size]) for i in range(0, len(holds), size)]
    assert keys.tiles(size).tolist() == tiles


@settings(max_examples=200)
@given(st.data())
def test_runs_that_overlap_make_the_table(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    run = st.tuples(
        st.integers(0, rows - 1), st.integers(0, columns - 1), st.integers(1, columns)
    ).map(lambda r: (r[0], r[1], min(r[1] + r[2], columns)))
    dense = []
    given_runs = []
    for _ in range(2):
        lists = data.draw(st.lists(st.lists(run, max_size=4), max_size=3))
        table = np.zeros((rows, columns), dtype=bool)
        for row, start, stop in (r for part in lists for r in part):
            table[row, start:stop] = True
        dense.append(table)
        given_runs.append(
            [tuple(np.array(part, dtype=np.int64).reshape(-1, 3).T) for part in lists]
        )
    made = from_runs(given_runs[0], given_runs[1], rows, columns)
    live, broken = dense
    assert np.array_equal(made.dense(), np.where(live, np.where(broken, 1, 2), 0))
    assert (np.diff(made.offsets) >= 0).all()
    joined = made.starts[1:] == made.stops[:-1]
    alike = (np.diff(made.row_of_run) == 0) & (made.full[1:] == made.full[:-1])
    assert not (joined & alike).any()  # as compact as can be


@pytest.mark.parametrize(
    "condition",
    [
        "(q.n // 4 - k.n // 4) % 3 == 0",
        "abs(q.n - k.n) % 7 < 3",
        "k.n // 8 == q.n // 8 - 1 and k.n % 8 != q.n % 8",  # alike after two tiles
    ],
)
@pytest.mark.parametrize(("length", "tile"), [(64, (4, 4)), (66, (8, 4)), (53, (4, 12))])
def test_tiles_along_a_diagonal_are_copies(
    condition: str, length: int, tile: tuple[int, int]
) -> None:
    pattern = pattern_of(condition)
    problem = pattern.problem({"n": length})
    layout = box_layout(problem, (tile[0],), (tile[1],))
    q, k = layout.q.extents[0], layout.k.extents[0]
    where = problem.groups[0].attend.where
    rows, columns = (x.ravel() for x in np.indices((q.tiles, k.tiles)))
    r, c, copies = representatives(where, q, k, rows, columns)
    assert len(r) < 0.9 * len(rows)
    elements = Elements(q, k, Known())
    every = elements.any_and_all(where, rows, columns)
    asked = elements.any_and_all(where, r, c)
    for whole, some in zip(every, asked, strict=True):
        assert np.array_equal(whole, some[copies])


def test_tiles_along_a_diagonal_of_two_axes_are_copies() -> None:
    text = "pattern p:\n    over q: n\n    over k: m\n    attend where (q.n - k.m) % 7 < 3\n"
    problem = attnlang.parse(text).problem({"n": 40, "m": 72})
    layout = box_layout(problem, (4,), (4,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    rows, columns = (x.ravel() for x in np.indices((q.tiles, k.tiles)))
    where = problem.groups[0].attend.where
    r, c, copies = representatives(where, q, k, rows, columns)
    assert len(r) < q.tiles + k.tiles
    elements = Elements(q, k, Known())
    asked, every = (elements.any_and_all(where, *x) for x in ((r, c), (rows, columns)))
    assert all(np.array_equal(some[copies], x) for some, x in zip(asked, every, strict=True))
