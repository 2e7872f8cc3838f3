"""The oracles of grids against facts that local.md states, and where two must agree."""

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pytest

from tests.oracles import mask
from tests.oracles.loops import keys, same
from tests.oracles.neighborhoods import axis_window


def a1_cases(dilations: int = 3) -> Iterator[tuple[int, int, int, int]]:
    """Every (length, window, stride, dilation) that rule A1 allows, up to length 14."""
    for length in range(1, 15):
        for dilation in range(1, dilations + 1):
            for window in range(1, length // dilation + 1):
                for stride in range(1, window + 1):
                    yield length, window, stride, dilation


def test_a1_clamp_keeps_the_count_and_the_query() -> None:
    for length, window, stride, dilation in a1_cases():
        for i in range(length):
            seen = axis_window(i, length, window, stride, dilation, False)
            assert len(seen) == window
            assert i in seen
            assert all(j % dilation == i % dilation and 0 <= j < length for j in seen)


def test_a1_causal_counts() -> None:
    """W - (leader - u) keys, the last query of its stride group being the leader."""
    for length, window, stride, dilation in a1_cases():
        for i in range(length):
            seen = axis_window(i, length, window, stride, dilation, True)
            u, members = i // dilation, range(len(range(i % dilation, length, dilation)))
            leader = max(w for w in members if w // stride == u // stride)
            assert seen[-1] == i
            assert len(seen) == min(u + 1, window - (leader - u))


@pytest.mark.parametrize("causal", [False, True])
def test_a1_bounds_are_monotone_and_touch(causal: bool) -> None:
    for case in a1_cases(dilations=1):
        rows = [axis_window(i, *case, causal) for i in range(case[0])]
        for row, following in pairwise(rows):
            assert row[0] <= following[0] <= row[-1] + 1
            assert row[-1] <= following[-1]


def test_a1_transpose() -> None:
    """The closed forms of the catalogue for the queries that see a key."""
    for case in a1_cases(dilations=1):
        length, w, s, _ = case
        for j in range(length):
            first = 0 if j < w else s * ((j - w + 1 + w // 2 + s - s // 2 - 1) // s)
            end = length if j >= length - w else s * ((j + w // 2 + s - s // 2) // s)
            seen_by = [u for u in range(length) if j in axis_window(u, *case, False)]
            assert seen_by == list(range(first, end))
            end = min(s * ((j + w) // s + (j + w >= length)), length)
            seen_by = [u for u in range(length) if j in axis_window(u, *case, True)]
            assert seen_by == list(range(j, end))


def test_neighborhood_sides() -> None:
    odd = mask("neighborhood_1d")({"n": 20}, window=5)
    assert keys(odd, 10) == [8, 9, 10, 11, 12]
    assert keys(odd, 0) == [0, 1, 2, 3, 4]
    assert keys(odd, 19) == [15, 16, 17, 18, 19]
    even = mask("neighborhood_1d")({"n": 20}, window=4)
    assert keys(even, 10) == [8, 9, 10, 11]
    even_stride = mask("neighborhood_1d")({"n": 20}, window=5, stride=2)
    assert keys(even_stride, 10) == keys(even_stride, 11) == [9, 10, 11, 12, 13]


def test_neighborhood_stride_equal_to_window() -> None:
    for n, window in [(12, 4), (15, 5), (12, 12), (9, 1)]:
        drawn = mask("neighborhood_1d")({"n": n}, window=window, stride=window)
        assert [keys(drawn, i)[0] for i in range(n)] == [i // window * window for i in range(n)]
        assert (drawn.sum(2) == window).all()
    ragged = mask("neighborhood_1d")({"n": 10}, window=4, stride=4)
    assert [keys(ragged, i)[0] for i in range(10)] == [0, 0, 0, 0, 4, 4, 4, 4, 6, 6]


def test_neighborhood_causal_stride_by_hand() -> None:
    drawn = mask("neighborhood_1d")({"n": 10}, window=4, stride=3, causal=True)
    assert [keys(drawn, i)[0] for i in range(10)] == [0, 0, 0, 2, 2, 2, 5, 5, 5, 6]
    assert [keys(drawn, i)[-1] for i in range(10)] == list(range(10))


def test_neighborhood_dilation_clamps_inside_its_own_group() -> None:
    drawn = mask("neighborhood_1d")({"n": 11}, window=3, dilation=2)
    assert keys(drawn, 10) == [6, 8, 10]  # group 0 has six tokens
    assert keys(drawn, 9) == [5, 7, 9]  # group 1 has five
    assert keys(drawn, 1) == [1, 3, 5]


def test_neighborhood_is_an_and_over_axes() -> None:
    y = mask("neighborhood_1d")({"n": 5}, window=3, stride=2)
    x = mask("neighborhood_1d")({"n": 8}, window=4, dilation=2)
    plane = mask("neighborhood_2d")({"y": 5, "x": 8}, window=(3, 4), stride=(2, 1), dilation=(1, 2))
    assert same(plane[0], np.kron(y[0], x[0]))
    t = mask("neighborhood_1d")({"n": 3}, window=2, causal=True)
    film = mask("neighborhood_3d")(
        {"t": 3, "y": 5, "x": 8},
        window=(2, 3, 4),
        stride=(1, 2, 1),
        dilation=(1, 1, 2),
        causal=(True, False, False),
    )
    assert same(film[0], np.kron(t[0], plane[0]))


@pytest.mark.parametrize(
    "wrong", [{"window": 11}, {"window": 3, "stride": 4}, {"window": 4, "dilation": 3}]
)
def test_neighborhood_refuses_what_a1_excludes(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rule A1 needs"):
        mask("neighborhood_1d")({"n": 10}, **wrong)


# --- partitions -------------------------------------------------------------------------------


@pytest.mark.parametrize(("y", "x", "window"), [(4, 8, 4), (6, 9, 3), (6, 6, 2), (10, 5, 5)])
def test_swin_equals_roll_and_region_labels(y: int, x: int, window: int) -> None:
    """The published construction: roll by -shift, cut windows, compare region labels."""

    def rolled_allows(i: int, j: int, length: int, shift: int) -> bool:
        a, b = (i - shift) % length, (j - shift) % length
        label = [0] * (length - window) + [1] * (window - shift) + [2] * shift
        return a // window == b // window and label[a] == label[b]

    tokens = list(product(range(y), range(x)))
    for shift in range(window):
        drawn = mask("swin_window")({"y": y, "x": x}, window=window, shift=shift)
        for (i, (y_i, x_i)), (j, (y_j, x_j)) in product(enumerate(tokens), repeat=2):
            expected = rolled_allows(y_i, y_j, y, shift) and rolled_allows(x_i, x_j, x, shift)
            assert drawn[0, i, j] == expected


@pytest.mark.parametrize(("y", "x", "grid"), [(6, 9, 3), (4, 8, 2), (8, 8, 4), (5, 10, 5)])
def test_maxvit_grid_equals_dilated_neighborhood(y: int, x: int, grid: int) -> None:
    sizes = {"y": y, "x": x}
    dilated = mask("neighborhood_2d")(sizes, window=grid, dilation=(y // grid, x // grid))
    assert same(mask("maxvit_grid")(sizes, grid=grid), dilated)
    with pytest.raises(ValueError, match="must be multiples of grid"):
        mask("maxvit_grid")({"y": y, "x": grid + 1}, grid=grid)


def test_maxvit_block_equals_blocked_neighborhood() -> None:
    sizes = {"y": 6, "x": 9}
    blocked = mask("neighborhood_2d")(sizes, window=3, stride=3)
    assert same(mask("maxvit_block")(sizes, window=3), blocked)
    assert same(mask("swin_window")(sizes, window=3), blocked)


@pytest.mark.parametrize(
    ("block", "halo", "blocks"), [(1, 1, 5), (2, 1, 5), (2, 2, 5), (3, 1, 4), (4, 2, 3)]
)
def test_halo_interior_equals_strided_neighborhood(block: int, halo: int, blocks: int) -> None:
    length = block * blocks
    sizes = {"y": length, "x": length}
    drawn = mask("halo_2d")(sizes, block=block, halo=halo)
    gna = mask("neighborhood_2d")(sizes, window=block + 2 * halo, stride=block)

    def inside(i: int) -> bool:
        return i // block * block >= halo and i // block * block + block + halo <= length

    tokens = enumerate(product(range(length), repeat=2))
    interior = [token for token, (y, x) in tokens if inside(y) and inside(x)]
    assert interior
    assert same(drawn[:, interior], gna[:, interior])
    assert keys(drawn, 0) == [
        y * length + x for y, x in product(range(block + halo), repeat=2)
    ]  # the corner is cut, not shifted
