"""Boxes against brute force: a tile's box holds every key it needs, and no claim is false."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.layout import choose
from attnlang.compiler.layout.tiling import blocks, contiguous, residues
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything
from attnlang.compiler.plan.plan import Plan

FACTORS = (
    "near({a}, {w}, {s})",
    "near({a}, {w}, {s}, 2)",
    "near({a}, {w}, {s}, 1, true)",
    "near({a}, {w}, {s}, 1, false, truncate)",
    "block({a}, {w})",
    "block({a}, {w}, {s})",
    "q.{a} % {w} == k.{a} % {w}",
    "(q.{a} - k.{a}) % {w} == 0 and abs(q.{a} - k.{a}) < 9",
    "same({a})",
    "causal({a})",
    "band({a}, {w})",
    "halo({a}, {w}, {s})",
    "true",
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A pattern over one to three axes, each with a factor of its own, and sizes that fit."""
    axes = ("n", "yx", "tyx")[draw(st.integers(0, 2))]
    longest = {1: 90, 2: 19, 3: 8}[len(axes)]
    parts, sizes = [], {}
    for axis in axes:
        width = draw(st.integers(2, 5))
        stride = draw(st.integers(1, width))
        parts.append(draw(st.sampled_from(FACTORS)).format(a=axis, w=width, s=stride))
        sizes[axis] = draw(st.integers(max(2 * width, 4), max(longest, 2 * width)))
    condition = " and ".join(f"({p})" for p in parts)
    return f"pattern p:\n    over {', '.join(axes)}\n    attend where {condition}\n", sizes


def check_boxes(plan: Plan, truth: np.ndarray) -> None:
    """Every statement of the boxes of a plan whose heads are alike, element by element."""
    boxes = plan.heads[0].boxes
    assert isinstance(boxes, BoxTable)
    assert plan.pairs == boxes.pairs
    check_table(boxes, truth)


def check_table(table: BoxTable, truth: np.ndarray) -> None:
    """Every statement of one table of boxes, element by element."""
    assert table.pairs == truth.sum()
    visited = full = slots = 0
    for part in table.parts:
        for row in range(part.q.tiles):
            tokens = part.q.tokens[row]
            attended = truth[tokens[tokens >= 0]]
            covered = np.zeros(truth.shape[1], dtype=int)
            for box in part.boxes:
                keys, tiles, fulls = keys_of(box, row, attended)
                covered[keys] += 1
                visited, full, slots = visited + tiles, full + fulls, slots + tiles * box.area
            assert (covered <= 1).all(), "two boxes of a tile share a key"
            assert not attended[:, covered == 0].any()
    assert table.tiles()["full"] == full
    assert table.tiles()["partial"] == visited - full
    assert table.visited == slots


def keys_of(box: Box | Everything, row: int, attended: np.ndarray) -> tuple[list[int], int, int]:
    """The keys of a query tile's box, and how many tiles and full tiles they are."""
    if isinstance(box, Everything):
        keys = list(range(box.k.start, box.k.stop))
        assert attended[:, keys].all()
        tiles = -(-len(keys) // box.k_tile[0])
        return keys, tiles, tiles
    strips = np.unravel_index(row, tuple(a.strips for a in box.q.axes))
    keys, whole, counts, fulls = [], [], [], []
    for reach, strip, size in zip(box.reaches, strips, box.k_tile, strict=True):
        again = reach.repeats
        shifts = [0] if again is None else [i * again.period for i in range(again.times[strip])]
        once = reach.starts[strip] + np.arange(reach.counts[strip]) * reach.step
        first = reach.full_starts[strip]
        inner = once[first : first + reach.full_counts[strip]]
        keys.append(np.array([x + shift for shift in shifts for x in once], dtype=int))
        whole.append(np.array([x + shift for shift in shifts for x in inner], dtype=int))
        tiles = [once[i : i + size] for i in range(0, len(once), size)]
        counts.append(len(tiles) * len(shifts))
        fulls.append(sum(set(t) <= set(inner) for t in tiles) * len(shifts))
    found = []
    for group in (keys, whole):
        cells = np.stack(np.meshgrid(*group, indexing="ij"), -1).reshape(-1, len(group))
        found.append([box.k.start + np.ravel_multi_index(c, box.k.lengths) for c in cells])
    assert attended[:, found[1]].all()
    return found[0], math.prod(counts), math.prod(fulls)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_boxes_equal_brute_force(problem: tuple[str, dict[str, int]]) -> None:
    text, sizes = problem
    pattern = attnlang.parse(text)
    plan = pattern.plan(sizes)
    if plan.heads[0].boxes is not None:
        check_boxes(plan, pattern.mask(sizes)[0].numpy())


@pytest.mark.long
@settings(max_examples=3000, deadline=None)
@given(problems())
def test_boxes_equal_brute_force_at_length(problem: tuple[str, dict[str, int]]) -> None:
    text, sizes = problem
    pattern = attnlang.parse(text)
    plan = pattern.plan(sizes)
    if plan.heads[0].boxes is not None:
        check_boxes(plan, pattern.mask(sizes)[0].numpy())


PIECES = (
    ("n", "causal(n) and (k.n < 3 or band(n, 7))"),
    ("n", "k.n < 2 or k.n >= len(n) - 3 or within(n, 4)"),
    ("n", "near(n, 9, edge=wrap)"),
    ("n", "near(n, 5, 1, 3, edge=wrap)"),
    ("n", "near(n, 4, 2, 2, causal=true, edge=wrap) or k.n % 2 == q.n % 2 and k.n < 4"),
    ("n", "(k.n - 5) % len(n) // 9 == (q.n - 5) % len(n) // 9"),
    ("n", "k.n < 20 and (k.n // 8 < 1 or within(n, 1))"),
    ("yx", "(k.y == 0 or within(y, 2)) and within(x, 3)"),
    ("yx", "(k.y == 0 or within(y, 2)) and (k.x == 1 or k.x >= q.x)"),
    ("tyx", "same(t) and (k.y < 1 or same(y)) and near(x, 3, edge=wrap)"),
)
SEGMENTS = (
    "q in cls or k in cls or {}",
    "k in cls or q in grid and k in grid and ({})",
    "q in cls and k in cls or q in grid and k in grid and ({})",
    "q in grid and k in grid and ({})",
)


@pytest.mark.parametrize(("axes", "condition"), PIECES)
@pytest.mark.parametrize("enumerated", [True, False])
def test_a_few_pieces_are_boxes(
    axes: str, condition: str, enumerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not enumerated:
        monkeypatch.setattr(choose, "SOLVED", 1)
    sizes = dict(zip(axes, ((48,), (9, 12), (3, 6, 6))[len(axes) - 1], strict=True))
    pattern = attnlang.parse(
        f"pattern p:\n    over {', '.join(axes)}\n    attend where {condition}\n"
    )
    plan = pattern.plan(sizes)
    assert plan.exact
    assert plan.heads[0].boxes is not None
    check_boxes(plan, pattern.mask(sizes)[0].numpy())


@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("place", ["prefix", "suffix"])
@pytest.mark.parametrize(("axes", "condition"), [*PIECES[::3], ("yx", "block(y, 2) and same(x)")])
def test_tokens_that_all_see_stand_beside_boxes(
    segments: str, place: str, axes: str, condition: str
) -> None:
    sizes = dict(zip(axes, ((48,), (9, 12), (3, 6, 6))[len(axes) - 1], strict=True))
    pattern = attnlang.parse(
        f"pattern p:\n    over {', '.join(axes)}\n    {place} cls: 5\n"
        f"    attend where {segments.format(f'({condition})')}\n"
    )
    plan = pattern.plan(sizes)
    assert plan.heads[0].boxes is not None
    check_boxes(plan, pattern.mask(sizes)[0].numpy())
    mask = pattern.mask(sizes)[0].numpy()
    assert plan.facts["rows_nonempty"] == mask.any(axis=1).all()


@pytest.mark.parametrize("columns", ["k.n % 8 < 3", "k.n % 8 == 3 or k.n % 8 == 6"])
def test_what_needs_many_pieces_is_left_to_tables(columns: str) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {columns} or same(n)\n")
    assert pattern.plan({"n": 64}).heads[0].boxes is None
    assert pattern.plan({"n": 4000}).heads[0].boxes is None


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_becomes_boxes(factor: str) -> None:
    condition = factor.format(a="n", w=4, s=2)
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    plan = pattern.plan({"n": 61})
    assert plan.heads[0].boxes is not None
    check_boxes(plan, pattern.mask({"n": 61})[0].numpy())


@pytest.mark.parametrize(("window", "length"), [(300, 2500), (64, 4097), (1000, 3001)])
def test_long_sequences_are_solved_not_enumerated(window: int, length: int) -> None:
    pattern = attnlang.load("stdlib:sliding_window", window=window)
    plan = pattern.plan({"n": length})
    boxes = plan.heads[0].boxes
    assert boxes is not None
    assert boxes.single is not None
    assert boxes.single.reaches[0].truth is None
    check_boxes(plan, pattern.mask({"n": length})[0].numpy())


def test_every_position_is_in_one_strip() -> None:
    for tiling in (contiguous(53, 8), blocks(53, 7, 3, 4), residues(53, 6, 4)):
        assert sorted(tiling.order.tolist()) == list(range(53))
        assert tiling.counts.max() == tiling.size


WASTE = [
    ("neighborhood_3d", {"t": 30, "y": 48, "x": 80}, {"window": (18, 24, 24)}, 1.7),
    (
        "neighborhood_3d",
        {"t": 30, "y": 48, "x": 80},
        {"window": (18, 24, 24), "stride": (16, 8, 8)},
        1.0,
    ),
    ("neighborhood_2d", {"y": 256, "x": 256}, {"window": 80}, 1.25),
    ("neighborhood_2d", {"y": 256, "x": 256}, {"window": 80, "stride": 16}, 1.0),
    ("neighborhood_2d", {"y": 64, "x": 64}, {"window": 13}, 3.0),
    ("neighborhood_1d", {"n": 4096}, {"window": 31, "dilation": 128, "causal": True}, 2.0),
]


@pytest.mark.parametrize(("name", "sizes", "params", "bound"), WASTE)
def test_waste_of_the_chosen_layout(
    name: str, sizes: dict[str, int], params: dict[str, object], bound: float
) -> None:
    plan = attnlang.load(f"stdlib:{name}", **params).plan(sizes)
    assert plan.exact
    assert 1.0 <= plan.waste <= bound


@pytest.mark.parametrize(
    ("condition", "fold"),
    [
        ("block(y, 8) and block(x, 8)", "y folded by blocks of 8; x folded by blocks of 8"),
        (
            "grid(y, 8) and grid(x, 8)",
            "y folded by residues modulo 8; x folded by residues modulo 8",
        ),
        ("same(y)", "y folded position by position"),
    ],
)
def test_folds_leave_no_waste(condition: str, fold: str) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over y, x\n    attend where {condition}\n")
    plan = pattern.plan({"y": 64, "x": 64})
    assert plan.waste == 1.0
    assert fold in str(plan.layout)


UNIONS = (
    "within({a}, 2) or block({a}, {w})",
    "causal({a}) and (block({a}, {w}) or band({a}, 3))",
    "same({a}) or q.{a} - k.{a} == 1",
    "band({a}, {w}) or k.{a} < 2",
    "block({a}, {w}) and (q.{a} % 2 == 0 or causal({a}))",
)


@st.composite
def unions(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A union on one of one or two axes, any factor on the other."""
    axes = ("n", "yx")[draw(st.integers(0, 1))]
    chosen = draw(st.sampled_from(axes))
    parts, sizes = [], {}
    for axis in axes:
        width = draw(st.integers(2, 5))
        factors = UNIONS if axis == chosen else FACTORS
        parts.append(draw(st.sampled_from(factors)).format(a=axis, w=width, s=1))
        sizes[axis] = draw(st.integers(10, 60 if len(axes) == 1 else 17))
    condition = " and ".join(f"({p})" for p in parts)
    return f"pattern p:\n    over {', '.join(axes)}\n    attend where {condition}\n", sizes


@settings(max_examples=60, deadline=None)
@given(unions())
def test_boxes_of_unions_equal_brute_force(problem: tuple[str, dict[str, int]]) -> None:
    text, sizes = problem
    pattern = attnlang.parse(text)
    plan = pattern.plan(sizes)
    truth = pattern.mask(sizes)[0].numpy()
    assert plan.pairs == truth.sum()
    if plan.heads[0].boxes is not None:
        check_boxes(plan, truth)


@pytest.mark.parametrize(
    "condition",
    [
        "(within(y, 2) or block(y, 4)) and near(x, 5)",
        "near(y, 5) and causal(x) and (block(x, 4) or band(x, 3))",
    ],
)
def test_a_union_on_one_axis_becomes_boxes(condition: str) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over y, x\n    attend where {condition}\n")
    sizes = {"y": 13, "x": 17}
    plan = pattern.plan(sizes)
    assert plan.heads[0].boxes is not None
    check_boxes(plan, pattern.mask(sizes)[0].numpy())
