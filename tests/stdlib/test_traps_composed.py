"""What implementers get wrong about attentions that are made of others."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError

load = attnlang.load
Tensor = torch.Tensor


def qkv(n: int, heads: int = 2, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(1, heads, n, width, generator=generator).double() for _ in range(3)]


# -- Music Transformer ----------------------------------------------------------------------------


def test_a_longer_table_is_read_from_its_end() -> None:
    """The last row is distance 0: rows in front of those that are needed change nothing."""
    q, k, v = qkv(6)
    table = torch.randn(2, 9, 4, dtype=torch.float64)
    long = load("stdlib:music_relative", reach=9).compile()(q, k, v, E=table)
    short = load("stdlib:music_relative", reach=6).compile()(q, k, v, E=table[:, 3:])
    torch.testing.assert_close(long, short)


def test_far_keys_are_not_clipped_to_the_first_row() -> None:
    q, k, v = qkv(6)
    table = torch.randn(2, 2, 4, dtype=torch.float64)
    padded = torch.cat([torch.zeros(2, 4, 4, dtype=torch.float64), table], 1)
    short = load("stdlib:music_relative", reach=2).compile()(q, k, v, E=table)
    torch.testing.assert_close(
        short, load("stdlib:music_relative", reach=6).compile()(q, k, v, E=padded)
    )


# -- VSTAR ----------------------------------------------------------------------------------------


def test_a_negative_largest_score_pushes_nearby_frames_away() -> None:
    """The bump has the sign of the row's largest score, before any edit."""
    q, k, _ = qkv(5, 1)
    op = load("stdlib:vstar_tar", strength=1.0, sigma=1.0).compile()
    v = torch.eye(5, dtype=torch.float64)[None, None]
    up = op(q.abs(), k.abs(), v)[0, 0].diagonal()
    down = op(q.abs(), -k.abs(), v)[0, 0].diagonal()
    plain = attnlang.compile("stdlib:full")
    assert bool((up > plain(q.abs(), k.abs(), v)[0, 0].diagonal()).all())
    assert bool((down < plain(q.abs(), -k.abs(), v)[0, 0].diagonal()).all())


# -- HiLo -----------------------------------------------------------------------------------------


def test_heads_within_windows_come_first() -> None:
    q, k, v = qkv(16, 4)
    sizes = {"y": 4, "x": 4}
    out = load("stdlib:hilo", window=2, alpha=0.25).compile()(q, k, v, sizes)
    near = load("stdlib:maxvit_block", window=2).compile()(q, k, v, sizes)
    torch.testing.assert_close(out[:, :3], near[:, :3])
    assert not torch.allclose(out[:, 3], near[:, 3])


def test_windows_of_one_pixel_leave_plain_attention() -> None:
    q, k, v = qkv(6)
    out = load("stdlib:hilo", window=1).compile()(q, k, v, {"y": 2, "x": 3})
    torch.testing.assert_close(out, attnlang.compile("stdlib:full")(q, k, v))


def test_an_image_that_windows_do_not_fit_is_refused() -> None:
    q, k, v = qkv(9)
    with pytest.raises(PatternError, match="windows fit the image"):
        load("stdlib:hilo", window=2).compile()(q, k, v, {"y": 3, "x": 3})


# -- Combiner and CCA -----------------------------------------------------------------------------


def changed(op: attnlang.Op, inputs: list[Tensor], which: int, place: int) -> list[int]:
    """The queries whose output moves with one token of q, k or v."""
    moved = [x.clone() for x in inputs]
    moved[which][:, :, place] += 1.0
    apart = (op(*inputs) - op(*moved)).abs().amax((0, 1, 3))
    return (apart > 1e-9).nonzero().flatten().tolist()


def test_the_own_segment_has_no_summary_yet() -> None:
    """Strictly earlier segments alone: a later token of the own one must not leak into it."""
    op = load("stdlib:combiner_fixed", segment=4).compile()
    assert changed(op, qkv(12), 2, 6) == [6, 7, *range(8, 12)]
    assert changed(op, qkv(12), 1, 7) == [7, *range(8, 12)]


def test_a_region_counts_once_however_long_it_is() -> None:
    """With equal keys a segment weighs as much as a token."""
    q, k, v = qkv(8, 1)
    op = load("stdlib:combiner_fixed", segment=4).compile()
    out = op(q, torch.zeros_like(k), v)
    torch.testing.assert_close(out[0, 0, 4], (v[0, 0, :4].mean(0) + v[0, 0, 4]) / 2)


def test_groups_are_seen_once_the_window_has_left_them() -> None:
    """window % group need not be 0: a query sees between window and window + group - 1 tokens."""
    step = load("stdlib:cca_core", group=4, window=6).steps["attended"]
    mask = step.mask({"n": 18})[0]
    tokens, groups = mask[:, 5:].sum(1), mask[:, :5].sum(1)
    assert tokens[9:].tolist() == [6, 7, 8, 9, 6, 7, 8, 9, 6]
    assert (tokens + 4 * groups).tolist() == list(range(1, 19))


def test_within_the_window_core_context_is_causal_attention() -> None:
    q, k, v = qkv(9)
    out = load("stdlib:cca_core", group=4, window=9).compile()(q, k, v)
    torch.testing.assert_close(out, attnlang.compile("stdlib:causal")(q, k, v))


# -- reversed attention and ISTA-Net --------------------------------------------------------------


def test_what_a_token_sends_sums_to_one() -> None:
    q, k, _ = qkv(6)
    v = torch.eye(6, dtype=torch.float64).expand(1, 2, 6, 6)
    ones = torch.ones(1, 6, 2).double()
    out = load("stdlib:dependency_vit").compile()(q, k, v, chosen=ones, message=ones[..., 0])
    torch.testing.assert_close(out.sum(2), torch.ones(1, 2, 6).double())
    assert not torch.allclose(out.sum(3), torch.ones(1, 2, 6).double())


def test_gates_are_the_senders() -> None:
    q, k, v = qkv(6)
    message = torch.ones(1, 6).double()
    message[0, 2] = 0.0
    silent = v.clone()
    silent[:, :, 2] = 0.0
    op, chosen = load("stdlib:dependency_vit").compile(), torch.ones(1, 6, 2).double()
    torch.testing.assert_close(
        op(q, k, v, chosen=chosen, message=message),
        op(q, k, silent, chosen=chosen, message=torch.ones(1, 6).double()),
    )


def test_weights_of_ista_are_no_softmax() -> None:
    """With alpha 0 the map alone mixes tokens, and its first index is the token of q."""
    q, k, v = qkv(5)
    learned = torch.randn(2, 5, 5, dtype=torch.float64)
    out = load("stdlib:ista").compile()(q, k, v, M=learned, alpha=torch.zeros(2).double())
    torch.testing.assert_close(out, learned.mT @ v)


# -- HydraHead ------------------------------------------------------------------------------------


def test_heads_stay_where_they_are() -> None:
    """The output is in the heads' own order, whichever kind each of them is."""
    q, k, v = qkv(7, 4)
    gates = {"a": -torch.rand(1, 7, 4).double(), "beta": torch.rand(1, 7, 4).double()}
    op, gain = load("stdlib:hydra_head").compile(), torch.ones(4).double()
    kinds = [torch.tensor(x) for x in ([True] * 4, [False] * 4, [False, True, True, False])]
    whole, none, mixed = (op(q, k, v, full=full, gain=gain, **gates) for full in kinds)
    torch.testing.assert_close(mixed, torch.where(kinds[2][:, None, None], whole, none))


def test_softmax_is_computed_for_its_heads_alone() -> None:
    step = load("stdlib:hydra_head").steps["recalled"]
    full = torch.tensor([False, True, False, False])
    assert step.plan({"n": 64}, 4, full=full).pairs == 64 * 65 // 2


def test_the_norm_is_of_one_head() -> None:
    q, k, v = qkv(5)
    gates = {"a": -torch.rand(1, 5, 2).double(), "beta": torch.rand(1, 5, 2).double()}
    op = load("stdlib:hydra_head").compile()
    given = {"full": torch.tensor([True, False]), "gain": torch.tensor([2.0, 0.5]).double()}
    out = op(q, k, v, **given, **gates)
    sizes = out.square().mean(-1).sqrt()
    torch.testing.assert_close(sizes[0, 0], torch.full((5,), 2.0).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(sizes[0, 1], torch.full((5,), 0.5).double(), atol=1e-2, rtol=0)


# -- Pointer Networks -----------------------------------------------------------------------------


def test_a_pointer_network_gives_its_distribution() -> None:
    """Not a sum of values; and a place that was pointed at can be pointed at again."""
    q, k = torch.randn(1, 1, 3, 4).double(), torch.randn(1, 1, 5, 4).double()
    q[:, :, 1] = q[:, :, 0]
    w = torch.randn(1, 4).double()
    out = load("stdlib:pointer_network").compile()(q, k, k, w=w)
    assert out.shape == (1, 1, 3, 5)
    torch.testing.assert_close(out.sum(-1), torch.ones(1, 1, 3).double())
    torch.testing.assert_close(out[:, :, 0], out[:, :, 1])


# -- hierarchical self-attention ------------------------------------------------------------------


def tree(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor([pairs])


def test_a_flat_tree_is_plain_attention() -> None:
    q, k, v = qkv(5)
    op, plain = load("stdlib:hsa_tree").compile(), attnlang.compile("stdlib:full")(q, k, v)
    torch.testing.assert_close(op(q, k, v, tree=tree(*[(0, 0)] * 5)), plain)
    torch.testing.assert_close(op(q, k, v, tree=tree(*[(i, 0) for i in range(5)])), plain)
    torch.testing.assert_close(op(q, k, v, tree=tree(*[(i, i) for i in range(5)])), plain)


def test_a_group_counts_as_often_as_it_has_tokens() -> None:
    """With equal scores everywhere every token has the same weight, whatever the tree."""
    q, k, v = qkv(6)
    out = load("stdlib:hsa_tree").compile()(
        q, torch.zeros_like(k), v, tree=tree((0, 0), (0, 0), (0, 0), (1, 0), (2, 1), (2, 1))
    )
    torch.testing.assert_close(out, v.mean(2, keepdim=True).expand_as(out))


def test_tokens_of_siblings_have_equal_weights() -> None:
    q, k, _ = qkv(6, 1)
    v = torch.eye(6, dtype=torch.float64)[None, None]
    ids = tree((0, 0), (0, 0), (1, 0), (1, 0), (2, 1), (2, 1))
    weights = load("stdlib:hsa_tree").compile()(q, k, v, tree=ids)[0, 0]
    torch.testing.assert_close(weights.sum(1), torch.ones(6).double())
    for block in (weights[:2, 2:4], weights[:4, 4:], weights[4:, :4]):
        torch.testing.assert_close(block, block[:1, :1].expand_as(block))
    assert not torch.allclose(weights[:2, :2], weights[:1, :1].expand(2, 2))


# -- channels -------------------------------------------------------------------------------------


def test_the_scale_of_channel_attention_is_that_of_the_group() -> None:
    """Although products run over all pixels: more pixels make scores larger."""
    v = torch.eye(4, dtype=torch.float64)[None, None]
    op = load("stdlib:davit_channel", group=4).compile()
    q = k = torch.eye(4, dtype=torch.float64)[None, None]
    out = op(q, k, v, {"y": 2, "x": 2})
    torch.testing.assert_close(out[0, 0], (torch.eye(4).double() / 2).softmax(-1).T)


def test_channels_prefer_those_unlike_them() -> None:
    x = torch.tensor([[1.0, 1.0, -1.0], [2.0, 2.0, -2.0]]).double()[None, None]
    weights = []
    for c in range(3):
        v = torch.zeros_like(x)
        v[..., c] = 1.0
        weights.append(load("stdlib:cam").compile()(x, x, v, {"y": 1, "x": 2})[0, 0, 0])
    assert float(weights[2][0]) > 0.9 > 0.1 > float(weights[0][0])


def test_channels_that_do_not_attend_pass() -> None:
    q, k = torch.randn(2, 1, 1, 6, 16).double()
    v = torch.randn(1, 1, 6, 10).double()
    op = load("stdlib:shvit_shsa", attended=4, channels=10).compile()
    out = op(q, k, v, {"y": 2, "x": 3})
    torch.testing.assert_close(out[..., 4:], v[..., 4:])
    assert not torch.allclose(out[..., :4], v[..., :4])


# -- latent attention -----------------------------------------------------------------------------

LATENT = {"latent": 8, "rope": 2, "nope": 5}


def latents(heads: int, kv_heads: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(width)
    return tuple(
        torch.randn(1, h, 6, width, generator=generator).double() for h in (heads, kv_heads)
    )  # type: ignore[return-value]


def test_one_shard_is_latent_attention() -> None:
    q, k = latents(3, 1, 10)
    whole = load("stdlib:mla", **LATENT).compile()(q, k, k)
    ones = torch.ones(1).double()
    given = {"gla_latent": {}, "tpla": {"alpha": ones, "mu": ones}}
    for name, inputs in given.items():
        op = load(f"stdlib:{name}", shards=1, **LATENT).compile()
        torch.testing.assert_close(op(q, k, k, **inputs), whole)


def test_values_of_latent_attention_are_its_keys() -> None:
    """v is not read; what is summed is normalised."""
    q, k = latents(2, 1, 10)
    op = load("stdlib:mla", **LATENT).compile()
    out = op(q, k, torch.full_like(k, 7.0))
    torch.testing.assert_close(out, op(q, k, k))
    torch.testing.assert_close(
        out[:, :, 0].square().mean(-1), torch.ones(1, 2).double(), atol=1e-4, rtol=0
    )


def test_shares_are_turned_over() -> None:
    """With equal shards alpha is their number, and a shard's norm is that of the whole latent."""
    part = torch.randn(1, 1, 6, 4).double()
    rope = torch.randn(1, 1, 6, 2).double()
    whole = torch.cat([part, part, rope], -1)
    shards = torch.cat([part, rope], -1).expand(1, 2, 6, 6)
    q = torch.randn(1, 2, 6, 6).double()
    given = {"alpha": torch.full((2,), 2.0).double(), "mu": torch.ones(2).double()}
    out = load("stdlib:tpla", shards=2, **LATENT).compile()(q, shards, shards, **given)
    wide = torch.cat([q[..., :4], torch.zeros(1, 2, 6, 4).double(), q[..., 4:]], -1)
    expected = load("stdlib:mla", **LATENT).compile()(wide, whole, whole)
    torch.testing.assert_close(out, expected[..., :4])


def test_the_rotary_part_is_not_multiplied() -> None:
    q, k = latents(2, 2, 6)
    q[..., :4] = 0.0
    op = load("stdlib:tpla", shards=2, **LATENT).compile()
    given = {"alpha": torch.ones(2).double()}
    one, other = (op(q, k, k, mu=torch.full((2,), m).double(), **given) for m in (1.0, 3.0))
    torch.testing.assert_close(one, other)


# -- pooled queries -------------------------------------------------------------------------------


def test_a_long_query_counts_what_is_no_padding() -> None:
    """The mean of one state among padding is that state: no shrinking by the length."""
    states = torch.randn(1, 1, 5, 4).double()
    weights = {f"{n}_weights": torch.eye(4).double()[None] for n in ("query", "key", "value")}
    pad = torch.tensor([[True, True, True, True, False]])
    for length in (1, 4):
        op = load("stdlib:lquery", length=length).compile()
        out = op(states, states, states, pad=pad, **weights)
        torch.testing.assert_close(out[:, :, 4], states[:, :, 4])
        assert not out[:, :, :4].any()


def test_bins_of_agents_overlap_where_they_do_not_fit() -> None:
    """Five rows in two bins: the third belongs to both."""
    op = load("stdlib:agent_attention", agents=4).compile()
    q, k, v = qkv(10, 1)
    apart = changed(lambda *x: op(*x, {"y": 5, "x": 2}), [q, k, v], 0, 4)
    assert apart == list(range(10))


def test_rows_are_summarised_in_both_directions() -> None:
    rows = load("stdlib:combiner_rowmajor", segment=3, stage="rows").mask({"n": 6})[0]
    assert rows.int().tolist() == [[1, 1, 1, 0, 0, 0]] * 3 + [[0, 0, 0, 1, 1, 1]] * 3
    joint = load("stdlib:combiner_rowmajor", segment=3).mask({"n": 6})[0]
    assert joint[4].nonzero().flatten().tolist() == [1, 9, 10]


# -- few slots ------------------------------------------------------------------------------------


def test_causal_slots_keep_all_that_was_written() -> None:
    """The last query sees what queries of a whole sequence see, and nothing of the past is lost."""
    q, k, v = qkv(7)
    given = {n: torch.randn(3, 4).double() for n in ("key_control", "value_control")}
    past, every = (load("stdlib:abc", slots=3, causal=c).compile() for c in (True, False))
    torch.testing.assert_close(past(q, k, v, **given)[:, :, 6], every(q, k, v, **given)[:, :, 6])
    for which in (1, 2):
        assert changed(lambda *x: past(*x, **given), [q, k, v], which, 2) == [2, 3, 4, 5, 6]


def test_runs_of_landmarks_are_short_first() -> None:
    """Eleven tokens in four runs: 2, 3, 3, 3."""
    pattern = load("stdlib:nystrom", landmarks=4)
    q, k, v = qkv(11, 1)
    base = pattern.compile()(q, k, v)
    for place, partner in ((0, 1), (2, 4), (8, 10)):
        swapped = k.clone()
        swapped[:, :, [place, partner]] = k[:, :, [partner, place]]
        other = v.clone()
        other[:, :, [place, partner]] = v[:, :, [partner, place]]
        torch.testing.assert_close(pattern.compile()(q, swapped, other), base)


def test_as_many_landmarks_as_tokens_come_near_attention() -> None:
    q, k, v = (0.5 * x for x in qkv(4, 1))
    q, k = q + 4 * torch.eye(4).double(), k + 4 * torch.eye(4).double()
    out = load("stdlib:nystrom", landmarks=4).compile()(q, k, v)
    torch.testing.assert_close(out, attnlang.compile("stdlib:full")(q, k, v), atol=1e-3, rtol=0)
