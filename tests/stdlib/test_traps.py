"""What implementers of these papers get wrong: the traps that the catalogue lists, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attnlang


def load(name: str, **params: Any) -> attnlang.Pattern:
    if name not in attnlang.stdlib.names():
        pytest.skip(f"{name} is not in the standard library")
    return attnlang.load(f"stdlib:{name}", **params)


def keys(pattern: attnlang.Pattern, n: int, query: int, head: int = 0, heads: int = 1) -> list[int]:
    mask = pattern.mask({"n": n}, heads)
    return [int(j) for j in mask[min(head, len(mask) - 1), query].nonzero()]


# -- neighbourhoods (local.md, rule A1) -----------------------------------------------------------


def test_edges_shift_the_window_and_do_not_cut_it() -> None:
    p = load("neighborhood_1d", window=5)
    assert keys(p, 12, 0) == [0, 1, 2, 3, 4]
    assert keys(p, 12, 5) == [3, 4, 5, 6, 7]
    assert keys(p, 12, 11) == [7, 8, 9, 10, 11]


def test_an_even_window_has_one_more_key_on_the_left() -> None:
    assert keys(load("neighborhood_1d", window=4), 12, 6) == [4, 5, 6, 7]


def test_the_right_hand_middle_query_leads_an_even_stride() -> None:
    p = load("neighborhood_1d", window=5, stride=4)
    assert [keys(p, 16, i) for i in (4, 5, 6, 7)] == [[4, 5, 6, 7, 8]] * 4


def test_causal_groups_are_led_by_their_last_query_and_end_at_each() -> None:
    p = load("neighborhood_1d", window=5, stride=3, causal=True)
    assert keys(p, 12, 6) == [4, 5, 6]  # the group 6, 7, 8 starts where 8 does
    assert keys(p, 12, 7) == [4, 5, 6, 7]
    assert keys(p, 12, 8) == [4, 5, 6, 7, 8]


def test_a_causal_window_is_cut_and_not_shifted() -> None:
    assert keys(load("neighborhood_1d", window=4, causal=True), 9, 1) == [0, 1]


def test_a_ragged_last_block_overlaps_the_one_before() -> None:
    p = load("neighborhood_1d", window=4, stride=4)
    assert keys(p, 10, 0) == [0, 1, 2, 3]
    assert keys(p, 10, 5) == [4, 5, 6, 7]
    assert keys(p, 10, 9) == [6, 7, 8, 9]


def test_a_dilated_window_is_clamped_to_its_own_group() -> None:
    """10 positions in groups of 4, 3 and 3: the last window of a short group starts elsewhere."""
    p = load("neighborhood_1d", window=3, dilation=3)
    assert keys(p, 10, 9) == [3, 6, 9]
    assert keys(p, 10, 7) == [1, 4, 7]
    assert keys(p, 10, 8) == [2, 5, 8]
    assert keys(p, 11, 10) == [4, 7, 10]


def test_a_window_that_exceeds_its_group_is_refused() -> None:
    with pytest.raises(attnlang.PatternError, match="the window must fit"):
        load("neighborhood_1d", window=4, dilation=3).mask({"n": 11})


@pytest.mark.parametrize("stride", [0, 6])
def test_a_stride_beyond_the_window_is_refused(stride: int) -> None:
    with pytest.raises(attnlang.PatternError, match="1 <= stride <= window"):
        load("neighborhood_1d", window=5, stride=stride).mask({"n": 11})


def test_a_window_of_the_whole_axis_is_dense() -> None:
    assert bool(load("neighborhood_1d", window=9).mask({"n": 9}).all())


def test_blocked_neighborhoods_are_blocks() -> None:
    mask = load("neighborhood_2d", window=4, stride=4).mask({"y": 8, "x": 12})[0]
    token = torch.arange(96)
    block = token // 12 // 4 * 3 + token % 12 // 4
    assert torch.equal(mask, block[:, None] == block[None, :])


def test_time_may_be_causal_while_space_is_not() -> None:
    p = load("neighborhood_3d", window=(3, 3, 3), causal=(True, False, False))
    mask = p.mask({"t": 4, "y": 4, "x": 4})[0].reshape(64, 4, 4, 4)
    seen = mask[2 * 16 + 5].nonzero()
    assert sorted({int(t) for t in seen[:, 0]}) == [0, 1, 2]
    assert sorted({int(y) for y in seen[:, 1]}) == [0, 1, 2]
    corner = mask[3 * 16 + 15].nonzero()
    assert sorted({int(y) for y in corner[:, 1]}) == [1, 2, 3]


def test_every_query_sees_itself_and_dilation_groups_do_not_meet() -> None:
    mask = load("neighborhood_2d", window=3, dilation=(2, 3)).mask({"y": 7, "x": 11})[0]
    assert bool(mask.diagonal().all())
    q, k = mask.nonzero(as_tuple=True)
    assert torch.equal(q // 11 % 2, k // 11 % 2)
    assert torch.equal(q % 11 % 3, k % 11 % 3)


# -- LongLoRA (llm.md) ----------------------------------------------------------------------------


def test_half_groups_at_the_ends_stand_alone() -> None:
    p = load("longlora_s2")
    assert [keys(p, 16, i, head=1, heads=2)[0] for i in range(16)] == (
        [0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 14, 14]
    )
    assert keys(p, 16, 5, head=0, heads=2) == [4, 5]


def test_the_two_official_semantics_differ_on_the_wrapped_pairs_alone() -> None:
    cut = load("longlora_s2", edge="truncate").mask({"n": 16}, 2)
    rolled = load("longlora_s2", edge="wrap").mask({"n": 16}, 2)
    assert not (cut & ~rolled).any()
    head, query, key = (rolled & ~cut).nonzero(as_tuple=True)
    pairs = set(zip(head.tolist(), query.tolist(), key.tolist(), strict=True))
    assert pairs == {(1, i, j) for i in (0, 1) for j in (14, 15)}


def test_the_order_of_a_wrapped_group_is_the_rolled_one() -> None:
    p = load("longlora_s2", edge="wrap")
    assert keys(p, 16, 14, head=1, heads=2) == [14]
    assert keys(p, 16, 0, head=1, heads=2) == [0, 14, 15]
    assert keys(p, 16, 1, head=1, heads=2) == [0, 1, 14, 15]


def test_an_odd_head_goes_to_the_shifted_half() -> None:
    mask = load("longlora_s2").mask({"n": 16}, 5)
    assert [bool(torch.equal(mask[h], mask[0])) for h in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_group_follows_the_length() -> None:
    for n in (8, 32):
        assert keys(load("longlora_s2"), n, n // 4, heads=2) == [n // 4]
    with pytest.raises(attnlang.PatternError, match="len\\(n\\) >= group_ratio"):
        load("longlora_s2").mask({"n": 3})


# -- Long-Context Attention Benchmark (llm.md): its kernels disagree, flex is the norm -------------

DOC = torch.tensor([[0] * 3 + [1] * 6 + [2] * 3])


def test_documents_are_causal_inside_and_never_meet() -> None:
    mask = load("lca_causal_document").mask({"n": 12}, doc=DOC)[0, 0]
    assert [int(j) for j in mask[5].nonzero()] == [3, 4, 5]
    assert not mask[9:, :9].any()


def test_the_prefix_is_inclusive() -> None:
    assert keys(load("lca_prefix_lm_causal", prefix=3), 8, 0) == [0, 1, 2, 3]


def test_windows_count_neighbours_beside_the_query() -> None:
    assert keys(load("lca_sliding_window", window=2), 9, 4) == [2, 3, 4, 5, 6]
    assert keys(load("lca_sliding_window_causal", window=2), 9, 4) == [2, 3, 4]


def test_global_tokens_are_twice_the_window_and_seen_from_everywhere() -> None:
    p = load("lca_global_sliding_window", window=1)
    assert keys(p, 9, 8) == [0, 1, 7, 8]
    assert keys(p, 9, 1) == list(range(9))


def test_blocks_count_from_the_start_of_the_sequence() -> None:
    mask = load("lca_block_causal_document", block=4).mask({"n": 12}, doc=DOC)[0, 0]
    assert [int(j) for j in mask[3].nonzero()] == [3]
    assert [int(j) for j in mask[4].nonzero()] == [3, 4, 5, 6, 7]


# -- windows and sinks ----------------------------------------------------------------------------


def test_sinks_join_the_window_and_are_not_counted_in_it() -> None:
    p = load("sliding_window", window=3, sinks=2)
    assert keys(p, 9, 8) == [0, 1, 6, 7, 8]
    assert keys(p, 9, 1) == [0, 1]
    same = load("streaming_sink", window=3, sinks=2).mask({"n": 9})
    np.testing.assert_array_equal(p.mask({"n": 9}), same)


def test_a_window_without_the_query_is_refused() -> None:
    with pytest.raises(attnlang.PatternError, match="the query itself is in its window"):
        load("sliding_window", window=0).mask({"n": 4})


def test_based_halves_its_window_and_counts_the_query_besides() -> None:
    assert keys(load("based_swa", window=6), 12, 9) == [6, 7, 8, 9]
