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


def tree(*parents: int) -> Tensor:
    """The group of each token, then the outer group of each group."""
    return torch.tensor([parents])


def hsa(groups: int, outers: int, backend: str = "reference") -> attnlang.Op:
    return load("stdlib:hsa_tree", groups=groups, outers=outers).compile(backend)


def test_a_flat_tree_is_plain_attention() -> None:
    q, k, v = qkv(5)
    plain = attnlang.compile("stdlib:full")(q, k, v)
    torch.testing.assert_close(hsa(1, 1)(q, k, v, tree=tree(*[0] * 5, 0)), plain)
    torch.testing.assert_close(hsa(5, 1)(q, k, v, tree=tree(*range(5), *[0] * 5)), plain)
    torch.testing.assert_close(hsa(5, 5)(q, k, v, tree=tree(*range(5), *range(5))), plain)


def test_a_group_counts_as_often_as_it_has_tokens() -> None:
    """With equal scores everywhere every token has the same weight, whatever the tree."""
    q, k, v = qkv(6)
    out = hsa(4, 2)(q, torch.zeros_like(k), v, tree=tree(0, 0, 0, 1, 2, 2, 0, 0, 1, 0))
    torch.testing.assert_close(out, v.mean(2, keepdim=True).expand_as(out))


def test_tokens_of_siblings_have_equal_weights() -> None:
    q, k, _ = qkv(6, 1)
    v = torch.eye(6, dtype=torch.float64)[None, None]
    weights = hsa(3, 2)(q, k, v, tree=tree(0, 0, 1, 1, 2, 2, 0, 0, 1))[0, 0]
    torch.testing.assert_close(weights.sum(1), torch.ones(6).double())
    for block in (weights[:2, 2:4], weights[:4, 4:], weights[4:, :4]):
        torch.testing.assert_close(block, block[:1, :1].expand_as(block))
    assert not torch.allclose(weights[:2, :2], weights[:1, :1].expand(2, 2))


def test_levels_of_single_groups_change_nothing() -> None:
    """A level above all, or one of the same groups again, is no new sibling for anyone."""
    q, k, v = qkv(7)
    ids = (0, 0, 1, 1, 2, 2, 2)
    flat = load("stdlib:hsa_tree", groups=3, depth=1).compile("reference")
    expected = flat(q, k, v, tree=tree(*ids))
    torch.testing.assert_close(hsa(3, 1)(q, k, v, tree=tree(*ids, 0, 0, 0)), expected)
    for above in ((0, 1, 2, 0, 0, 0), (0, 0, 0, 0, 0, 0), (2, 0, 1, 0, 1, 2)):
        deep = load("stdlib:hsa_tree", groups=3, outers=3, depth=3).compile("reference")
        torch.testing.assert_close(deep(q, k, v, tree=tree(*ids, *above)), expected)


def test_siblings_meet_once() -> None:
    """Groups ask groups, not tokens: the work beside tokens' own groups is that of the tree."""
    pattern = load("stdlib:hsa_tree", groups=64, outers=8)
    ids = torch.cat([torch.arange(4096) // 64, torch.arange(64) // 8])[None]
    pairs = {n: pattern.steps[n].plan({"n": 4096}, 1, tree=ids).pairs for n in ("inside", "near_1")}
    assert pairs == {"inside": 4096 * 64, "near_1": 4096}
    found = pattern.explain({"n": 4096}, heads=1, tree=ids).to_dict()
    beside = next(s for s in found["steps"] if s["name"] == "beside_1")
    assert beside["report"]["pairs"]["at_most"] <= 64 * 64
    assert found["forward"] < found["dense_forward"] / 10
