"""What implementers get wrong about channels, latents, pooled queries and slots."""

from __future__ import annotations

import torch

import attnlang
from tests.stdlib.test_traps_composed import Tensor, changed, load, qkv

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


def test_few_agents_are_fewer_than_half_the_tokens() -> None:
    """Two agents of four tokens are too many; of five they leave the values a share."""
    op = load("stdlib:agent_attention_sd", agents=2, k_shortcut=0.5).compile()
    agent = torch.randn(1, 1, 2, 4).double()
    for n in (4, 5):
        q, k, v = qkv(n, 1)
        out = op(q, k, v, agent=agent)
        other = op(q, k, v, agent=agent + 1.0)
        assert torch.equal(out, other) == (n == 4)
    torch.testing.assert_close(op(0 * q, 0 * k, v, agent=agent), v.mean(2, keepdim=True) + 0.5 * v)


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


def test_slots_stand_in_one_softmax_with_the_window() -> None:
    """With equal scores a slot weighs as much as a token of the window."""
    q, k, _ = qkv(6, 1)
    v = torch.eye(6).double()[None, None]
    k = torch.cat([k, torch.zeros(1, 1, 6, 2)], -1).double()
    q = torch.zeros(1, 1, 6, 6).double()
    norms = {n: torch.ones(6).double() for n in ("long_gain", "short_gain")}
    norms |= {n: torch.zeros(6).double() for n in ("long_shift", "short_shift")}
    op = load("stdlib:long_short", slots=1, window=2).compile()
    scores = torch.zeros(1, 6, 1, 1).double()
    out = op(q, k, v, scores=scores, **norms)[0, 0]
    unit = (torch.eye(6).double() - 1 / 6) / (5 / 36 + 1e-5) ** 0.5
    torch.testing.assert_close(out[0], unit[:3].sum(0) / 4, atol=1e-4, rtol=0)
    torch.testing.assert_close(out[2], unit[1:5].sum(0) / 5, atol=1e-4, rtol=0)


def causal_slots(**params: int) -> tuple[attnlang.Op, dict[str, Tensor]]:
    given = {n: torch.rand(8).double() for n in ("long_gain", "short_gain")}
    given |= {n: torch.rand(8).double() for n in ("long_shift", "short_shift")}
    scores = torch.randn(1, 13, 2, params["slots"]).double()
    op = load("stdlib:long_short", causal=True, **params).compile()
    return op, {"scores": scores, **given}


def test_slots_of_a_chunk_are_seen_once_it_is_over() -> None:
    """By queries of later chunks alone: a token is seen in its slot and in the window both."""
    op, given = causal_slots(slots=2, window=2, chunk=4)
    inputs = qkv(13)
    for which, place, seen in ((1, 5, [5, 6]), (2, 5, [5, 6]), (1, 7, [7]), (2, 7, [7])):
        moved = [x.clone() for x in inputs]
        moved[which][:, :, place, 0] += 1.0
        apart = (op(*inputs, **given) - op(*moved, **given)).abs().amax((0, 1, 3)) > 1e-9
        assert apart.nonzero().flatten().tolist() == [*seen, *range(8, 13)]


def test_slots_of_chunks_go_on_from_the_keys_of_the_past() -> None:
    """Decoding: the last queries alone see what they saw among all."""
    op, given = causal_slots(slots=1, window=3, chunk=4)
    q, k, v = qkv(13)
    whole = op(q, k, v, **given)
    for last in (1, 6):
        found = op(q[:, :, -last:], k, v, q_offset=13 - last, **given)
        torch.testing.assert_close(found, whole[:, :, -last:])
