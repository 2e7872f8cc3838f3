"""Tables of tiles that are solved for, axis by axis, against all their pairs."""

from __future__ import annotations

from typing import TypeAlias
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.swap import swapped
from attnlang.compiler.ir import expr as e
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling, combed, contiguous, residues
from attnlang.compiler.plan import solved
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.problem import grid_of

Cuts: TypeAlias = tuple[AxisTiling, ...]
WHOLE = (
    "causal(n)", "band(n, 9)", "k.n % 8 == 3", "causal(n) and (band(n, 5) or k.n % 8 == 3)",
    "near(n, 7) or k.n < 4", "q.n % 8 == 3 and k.n <= q.n",
)  # fmt: skip
FOLDED = (
    "q.n % {m} == k.n % {m}", "(q.n - k.n) % {m} == 0 and causal(n)",
    "near(n, 5, dilation={m})", "q.n % {m} == k.n % {m} and (band(n, 40) or k.n < 20)",
    "k.n % {m} == q.n % {m} and abs(q.n - k.n) > 30",
)  # fmt: skip
lengths = st.integers(2, 150)
sizes = st.integers(1, 40)


def check(
    text: str, lengths: tuple[int, ...], stands: Cuts, moves: Cuts, *, by_key: bool, long: bool
) -> None:
    """long: are axes solved for, which long ones are? Else their pairs are enumerated."""
    sizes = dict(zip("tyx"[3 - len(lengths) :] if len(lengths) > 1 else "n", lengths, strict=True))
    over = f"pattern p:\n    over {', '.join(sizes)}\n"
    pattern = attnlang.parse(f"{over}    attend where {text}\n        empty zero\n")
    problem = pattern.problem(sizes)
    where = problem.groups[0].attend.where
    if isinstance(where, e.Bool):  # the lengths say it all
        return
    q, k = (
        ExtentTiling(grid_of(x), t)
        for x, t in zip((problem.q, problem.k), (stands, moves), strict=True)
    )
    with patch.object(solved, "ENUMERATED", 0 if long else 1 << 22):
        table = solved.solved_table(swapped(where) if by_key else where, q, k, Known())
    assume(table is not None)  # what moves may be a set that no few intervals hold
    assert table is not None
    truth = pattern.mask(sizes).numpy()[0]
    truth = truth.T if by_key else truth
    found = table.dense()
    for i, rows in enumerate(q.tokens):
        for j, columns in enumerate(k.tokens):
            pairs = truth[np.ix_(rows[rows >= 0], columns[columns >= 0])]
            assert bool(found[i, j]) == pairs.any(), (i, j)
            assert pairs.all() or found[i, j] != 2, (i, j)
            if not long or " or " not in text:
                assert (found[i, j] == 2) == pairs.all(), (i, j)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WHOLE), lengths, sizes, sizes, st.integers(2, 9), st.integers(0, 8),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_combs_that_stand(
    text: str, length: int, size: int, other: int, period: int, first: int, by_key: bool, long: bool
) -> None:
    comb = combed(length, period, min(first, period - 1, length - 1), size)
    if not comb.contiguous:
        moves = (contiguous(length, other),)
        check(text, (length,), (comb,), moves, by_key=by_key, long=long)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FOLDED), lengths, sizes, sizes, st.integers(2, 9), st.booleans(), st.booleans()
)
def test_residues(
    text: str, length: int, size: int, other: int, m: int, by_key: bool, long: bool
) -> None:
    stands, moves = residues(length, m, size), residues(length, m, other)
    if moves.contiguous or int(moves.steps[0]) != m:
        return
    check(text.format(m=m), (length,), (stands,), (moves,), by_key=by_key, long=long)


GRIDS = (
    "near(y, 5) and near(x, 3)", "near(y, 3, dilation=2) and near(x, 5)", "same(x)",
    "block(y, 4) and (near(x, 5) or k.x == 0)", "q.y % 3 == k.y % 3 and causal(x)",
)  # fmt: skip


def cuts(data: st.DataObject, lengths: tuple[int, ...]) -> Cuts:
    """Runs or residues of any size along each axis."""
    made = []
    for length in lengths:
        size, modulus = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
        made.append(residues(length, modulus, size) if modulus > 1 else contiguous(length, size))
    return tuple(made)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GRIDS), st.integers(2, 13), st.integers(2, 13), st.data(), st.booleans())
def test_grids(text: str, y: int, x: int, data: st.DataObject, by_key: bool) -> None:
    lengths = (y, x)
    stands, moves = cuts(data, lengths), cuts(data, lengths)
    check(text, lengths, stands, moves, by_key=by_key, long=False)


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(2, 40), st.integers(0, 39), sizes)
def test_a_comb_has_every_place_once(length: int, period: int, first: int, size: int) -> None:
    first = min(first, period - 1, length - 1)
    cut = combed(length, period, first, size)
    assert sorted(cut.order.tolist()) == list(range(length))
    assert int(cut.counts.max()) == cut.size <= size
    assert (cut.counts > 0).all()
    teeth = np.isin(cut.positions, np.arange(first, length, period)) & (cut.positions >= 0)
    assert not (teeth.any(1) & ((cut.positions >= 0) & ~teeth).any(1)).any()


@pytest.mark.parametrize("length", [4096, 65536])
@pytest.mark.parametrize(
    "text",
    [
        "near(n, 31, dilation=128, causal=true)",
        "causal(n) and (q.n - k.n) % 32 == 0",
        "causal(n) and (band(n, 64) or k.n % 32 == 0)",
    ],
)
def test_keys_are_visited_by_hardly_more_queries_than_attend_them(text: str, length: int) -> None:
    """The gradient of keys walks these tables: as few pairs of tiles as the boxes visit."""
    pattern = attnlang.parse(
        f"pattern p:\n    over n\n    attend where {text}\n        empty zero\n"
    )
    plan = make(pattern.problem({"n": length}))
    (group,) = plan.heads
    assert group.boxes is not None
    tiles = group.columns.tiles()
    visited = (tiles["full"] + tiles["partial"]) * group.layout.area
    assert visited < 1.25 * group.boxes.visited
