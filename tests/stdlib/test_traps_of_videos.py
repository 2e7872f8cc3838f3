"""What implementers get wrong about patterns of videos and poses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang


def load(name: str, **params: Any) -> attnlang.Pattern:
    return attnlang.load(f"stdlib:{name}", **params)


def keys(row: torch.Tensor) -> list[int]:
    return [int(j) for j in row.nonzero()]


# -- factorized and divided attention -------------------------------------------------------------


def test_temporal_attention_looks_both_ways() -> None:
    mask = load("factorized_st", axis="t").mask({"t": 4, "s": 3})[0]
    assert keys(mask[4]) == [1, 4, 7, 10]


def test_one_class_token_asks_the_whole_clip_in_both_steps() -> None:
    for axis, own in (("t", [0, 2, 5, 8]), ("s", [0, 4, 5, 6])):
        mask = load("divided_st_cls", axis=axis).mask({"t": 3, "s": 3})[0]
        assert keys(mask[0]) == list(range(10))
        assert keys(mask[5]) == own  # frame 1, site 1, and the class token


# -- windows of videos ----------------------------------------------------------------------------


def test_shifted_windows_are_cut_at_the_ends_and_do_not_go_round() -> None:
    pattern = load("tesa", window_t=4, window_y=1, window_x=1, shift=(2, 0, 0))
    mask = pattern.mask({"t": 8, "y": 1, "x": 1})[0]
    assert [keys(mask[t]) for t in (0, 2, 6)] == [[0, 1], [2, 3, 4, 5], [6, 7]]


def test_one_shift_is_for_all_axes() -> None:
    sizes = {"t": 4, "y": 4, "x": 4}
    one, each = (load("tesa", shift=shift).mask(sizes) for shift in (2, (2, 2, 2)))
    assert torch.equal(one, each)


def test_swapped_streams_meet_at_the_same_places() -> None:
    """Queries of one stream, keys and values of the other: a window is the same part of both."""
    op = attnlang.compile("stdlib:swap_ca_3d", window_t=2, window_y=2, window_x=2)
    sizes = {"t": 4, "y": 4, "x": 4}
    dice = torch.Generator().manual_seed(0)
    spatial, temporal = torch.randn(2, 1, 1, 64, 8, generator=dice, dtype=torch.float64)
    out = op(spatial, temporal, temporal, sizes).reshape(4, 4, 4, 8)
    q, kv = (x.reshape(4, 4, 4, 8)[2:, :2, 2:].reshape(8, 8) for x in (spatial, temporal))
    expected = torch.softmax(q @ kv.T * 8**-0.5, -1) @ kv
    torch.testing.assert_close(out[2:, :2, 2:].reshape(8, 8), expected)


# -- Radial attention -----------------------------------------------------------------------------


def test_all_queries_of_a_block_have_the_same_whole_blocks() -> None:
    mask = load("radial", gamma=0.2, block=4).mask({"t": 10, "s": 6, "text": 0})[0]
    blocks = mask.reshape(15, 4, 15, 4)
    assert torch.equal(blocks, blocks[:, :1, :, :1].expand_as(blocks))


def test_the_sink_is_the_first_frame_of_the_keys_alone() -> None:
    sizes = {"t": 32, "s": 8, "text": 0}
    blocks = {
        m: load("radial", model=m, block=4).mask(sizes)[0][::4, ::4] for m in ("wan", "hunyuan")
    }
    assert bool(blocks["wan"][:, :2].all())
    assert not bool(blocks["wan"][:2].all())
    assert not bool(blocks["hunyuan"][:, :2].all())


def test_far_frames_keep_a_band_of_a_block_at_every_so_many_distances() -> None:
    """8 sites in blocks of 4: the band has 4 sites from distance 2 on, thinned from 4 on."""
    mask = load("radial", model="hunyuan", block=4).mask({"t": 32, "s": 8, "text": 0})[0]
    distances = [d for d in range(32) if mask[0].reshape(32, 8)[d].any()]
    assert distances == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]


def test_a_block_beyond_a_frames_share_is_left_to_the_next_frame() -> None:
    """Frames of 7 in blocks of 4, two blocks a frame: the sites 12 and 13 of frame 1 lie in block 3,
    which is frame 2's. Frame 5 is 4 frames from frame 1, which is kept, and 3 from frame 2."""
    mask = load("radial", model="hunyuan", block=4).mask({"t": 8, "s": 7, "text": 0})[0]
    assert bool(mask[11, 36])
    assert not bool(mask[12, 36])


def test_text_sees_and_is_seen_by_everything() -> None:
    mask = load("radial", model="hunyuan", block=4).mask({"t": 20, "s": 4, "text": 3})[0]
    assert bool(mask[80:].all())
    assert bool(mask[:, 80:].all())
    assert not bool(mask[:80, :80].all())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"t": 3, "s": 6}, "blocks must divide the video"), ({"t": 8, "s": 3}, "a block of sites")],
)
def test_videos_that_do_not_fall_into_blocks_are_refused(
    sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(attnlang.PatternError, match=message):
        load("radial", block=4).mask({**sizes, "text": 0})


def test_a_frame_twice_as_far_is_seen_half_as_wide() -> None:
    """8 sites: bands of 8, 4, 2, 1 keys (one side), then the site itself at every 2nd, 4th distance."""
    mask = load("radial_token", sink=False).mask({"t": 40, "s": 8})[0]
    row = mask[3].reshape(40, 8)
    assert [keys(row[d]) for d in (1, 2, 4, 8)] == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6],
        [2, 3, 4],
        [3],
    ]
    assert [d for d in range(15, 40) if row[d].any()] == [15, *range(16, 32, 2), 32, 36]


# -- skeletons and poses --------------------------------------------------------------------------

PARTS = {"block_t": 2, "grid_t": 2, "block_v": 3, "grid_v": 2}


def test_grids_are_given_by_their_members_and_each_quarter_has_its_kind() -> None:
    mask = load("skateformer", **PARTS).mask({"t": 6, "v": 6}, heads=4)
    seen = [mask[h, 0].reshape(6, 6) for h in range(4)]
    times = [keys(row.any(1)) for row in seen]
    joints = [keys(row.any(0)) for row in seen]
    assert times == [[0, 1], [0, 1], [0, 3], [0, 3]]
    assert joints == [[0, 1, 2], [0, 3], [0, 1, 2], [0, 3]]


def test_scores_are_scaled_by_heads_and_not_by_their_width() -> None:
    case = load("skateformer", **PARTS)
    q, k, v = torch.randn(3, 1, 16, 36, 5, generator=torch.Generator().manual_seed(0))
    _, lse = case.compile()(q, k, v, {"t": 6, "v": 6}, return_lse=True)
    own = [int(j) for j in case.mask({"t": 6, "v": 6}, heads=16)[0, 0].nonzero()]
    expected = torch.logsumexp((q[0, 0, 0] * k[0, 0, own]).sum(-1) * 4**-0.5, 0)
    torch.testing.assert_close(lse[0, 0, 0], expected)


@pytest.mark.parametrize(
    ("sizes", "heads", "message"),
    [
        ({"t": 7, "v": 6}, 4, "must divide t"),
        ({"t": 6, "v": 8}, 4, "must divide v"),
        ({"t": 6, "v": 6}, 6, "a quarter of the heads"),
    ],
)
def test_partitions_must_divide(sizes: dict[str, int], heads: int, message: str) -> None:
    with pytest.raises(attnlang.PatternError, match=message):
        load("skateformer", **PARTS).mask(sizes, heads)


def test_joints_are_grouped_by_table_and_unused_slots_stand_apart() -> None:
    group = torch.tensor([0, 1, 0, -1, -1])
    mask = load("dsta").mask({"t": 2, "v": 5}, group=group)[0]
    assert [keys(mask[i]) for i in range(5)] == [[0, 2], [1], [0, 2], [], []]
    temporal = load("dsta", branch="temporal").mask({"t": 2, "v": 5}, group=group)[0]
    assert keys(temporal[3]) == [3, 8]


def test_background_rows_keep_their_query_and_the_class_token_counts_as_pose() -> None:
    pose = torch.tensor([[True, False, True, False]])
    mask = load("paab").mask({"n": 4}, pose=pose)[0, 0]
    assert [keys(row) for row in mask] == [[0, 1, 3], [0, 1, 3], [], [0, 1, 3], []]
    q, k, v = torch.randn(3, 1, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    for backend in ("reference", "blocked"):
        out = attnlang.compile("stdlib:paab", backend=backend)(q, k, v, pose=pose)
        assert torch.equal(out[0, 0, [2, 4]], q[0, 0, [2, 4]])
