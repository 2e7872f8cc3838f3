"""What is easily got wrong about patterns that choose blocks of keys on a sequence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import attnlang

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")


def qkv(n: int, heads: int = 2, kv_heads: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, heads, n, 4), (1, kv_heads, n, 4), (1, kv_heads, n, 3))
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def load(name: str, backend: str = "reference", **params: Any) -> Any:
    return attnlang.load(f"stdlib:{name}", **params).compile(backend)


def members(chosen: Tensor) -> list[int]:
    return chosen.nonzero().flatten().tolist()


# -- MoBA ------------------------------------------------------------------------------------------


def test_moba_counts_the_own_block() -> None:
    q, k, v = qkv(20)
    chosen = load("moba", block=4, topk=2).select(q, k, v)["chosen"][0]
    for h in range(2):
        for i in range(20):
            assert chosen[h, i, i // 4]
            assert int(chosen[h, i].sum()) == min(2, i // 4 + 1)  # no future block makes up


@pytest.mark.parametrize("backend", BACKENDS)
def test_moba_is_own_block_and_past_blocks_merged(backend: str) -> None:
    """The efficient form: a causal softmax in the block and one over whole past blocks, by lse."""
    q, k, v = qkv(18)
    op = load("moba", backend, block=4, topk=3)
    chosen = op.select(q, k, v)["chosen"]
    scores, at = q @ k.mT / 2.0, torch.arange(18)
    own = (at // 4 == at[:, None] // 4) & (at <= at[:, None])
    past = chosen[..., at // 4] & (at // 4 != at[:, None] // 4)
    logs, outs = [], []
    for mask in (own, past):
        hidden = scores.masked_fill(~mask, -torch.inf)
        logs.append(hidden.logsumexp(-1))
        outs.append(torch.nan_to_num(hidden.softmax(-1)) @ v)
    share = torch.softmax(torch.stack(logs), 0)[..., None]
    torch.testing.assert_close(op(q, k, v), share[0] * outs[0] + share[1] * outs[1])


def test_moba_chooses_for_every_query_head() -> None:
    q, k, v = qkv(40, heads=4, kv_heads=1)
    chosen = load("moba", block=4, topk=2).select(q, k, v)["chosen"][0]
    assert any(not torch.equal(chosen[0], chosen[h]) for h in (1, 2, 3))


# -- NSA -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_nsa_has_no_mean_before_the_first_block_ends(backend: str) -> None:
    q, k, v = qkv(9)
    gate = torch.zeros(1, 2, 9, 3, dtype=torch.float64)
    gate[..., 0] = 1.0
    out = load("nsa", backend, block=4, topk=1, window=2)(q, k, v, gate=gate)
    assert torch.equal(out[:, :, :3], torch.zeros_like(out[:, :, :3]))
    torch.testing.assert_close(out[:, :, 3], v[:, :, :4].mean(2))  # one mean: all of the weight


def test_nsa_keeps_the_own_block_whatever_the_scores() -> None:
    q, k, v = qkv(16)
    k = torch.full_like(k, 1.0)
    q[:, :, 15] = 100.0
    gate = torch.ones(1, 2, 16, 3, dtype=torch.float64)
    chosen = load("nsa", block=4, topk=1, window=2).select(q, k, v, gate=gate)["chosen"][0]
    assert [members(row) for row in chosen[0]] == [[i // 4] for i in range(16)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nsa_has_three_softmaxes(backend: str) -> None:
    """Everything chosen and everything in the window: twice dense attention, and the means."""
    q, k, v = qkv(13)
    gate = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64).expand(1, 2, 13, 3)
    out = load("nsa", backend, block=4, topk=9, window=99)(q, k, v, gate=gate)
    torch.testing.assert_close(out, 2 * load("causal")(q, k, v))


def test_nsa_trains_its_choice_through_the_means_alone() -> None:
    q, k, v = (x.requires_grad_() for x in qkv(16))
    op = load("nsa", block=4, topk=2, window=1)
    gate = torch.zeros(1, 2, 16, 3, dtype=torch.float64)
    for branch, learns in ((0, True), (2, False)):  # a window of 1 is the value itself
        one = gate.clone()
        one[..., branch] = 1.0
        (slope,) = torch.autograd.grad(op(q, k, v, gate=one).square().sum(), q)
        assert bool(slope.abs().max() > 1e-6) is learns


def test_nsa_paper_counts_runs_by_common_strides() -> None:
    """Blocks of 64, runs of 32 every 16: a run inside counts twice, one across an edge once."""
    n = 192
    q, k, v = qkv(n, heads=1, kv_heads=1)
    gate = torch.ones(1, 1, n, 3, dtype=torch.float64)
    pattern = attnlang.load("stdlib:nsa", form="paper", topk=2, initial=0, local=1)
    means = k[0, 0].unfold(0, 32, 16).mean(-1)
    chosen = pattern.compile("reference").select(q, k, v, gate=gate)["chosen"][0, 0]
    for i in range(128, n):
        seen = [c for c in range(len(means)) if 16 * c + 31 <= i]
        weights = torch.softmax(means[seen] @ q[0, 0, i] / 2.0, 0).tolist()
        first = 2 * sum(weights[0:3]) + weights[3]
        second = weights[3] + 2 * sum(weights[4:7]) + (weights[7] if len(seen) > 7 else 0.0)
        assert members(chosen[i]) == [0 if first >= second else 1, 2]


# -- SeerAttention ---------------------------------------------------------------------------------


def gates(rows: int, fill: float = 0.0) -> Tensor:
    return torch.full((1, 2, rows, rows), fill, dtype=torch.float64)


def test_seer_leaves_queries_without_keys() -> None:
    """The own block is not forced: above 1 / n no block of a flat row is chosen."""
    q, k, v = qkv(20)
    out = load("seer_attention", block=4, threshold=0.4)(q, k, v, gate=gates(5))
    assert torch.equal(out[:, :, 8:12], torch.zeros_like(out[:, :, 8:12]))  # 1/3 each
    assert bool((out[:, :, 4:8] != 0).all())  # 1/2 each


def test_seer_is_strictly_above() -> None:
    q, k, v = qkv(20)
    chosen = load("seer_attention", block=4, threshold=0.5, dense=0)
    assert members(chosen.select(q, k, v, gate=gates(5))["prefilled"][0, 0, 1]) == []


def test_seer_makes_two_rows_dense() -> None:
    q, k, v = qkv(20)
    likely = load("seer_attention", block=4, threshold=0.9).select(q, k, v, gate=gates(5))
    assert [len(members(r)) for r in likely["prefilled"][0, 0]] == [1, 0, 0, 4, 5]


def test_seer_ratio_is_of_the_triangle() -> None:
    """Half of the triangle left out is not half of the blocks of a row."""
    q, k, v = qkv(40)
    op = load("seer_attention", block=4, by="ratio", ratio=0.5, dense=0)
    best = op.select(q, k, v, gate=gates(10))["prefilled"][0, 0]
    assert [int(r.sum()) for r in best] == [1] + [2] * 9
    assert math.floor((1 - math.sqrt(0.5)) * 10) == 2


def gate_of_means(
    raw_q: Tensor, raw_k: Tensor, wq: tuple[float, ...], turn: float
) -> dict[str, Tensor]:
    """A gate of two features: the first of a query times ``wq[head]``, the mean of the first of k."""
    q_table = torch.zeros(len(wq), 2, 4).double()
    q_table[:, 0, 0] = torch.tensor(wq)
    k_table = torch.zeros(raw_k.shape[1], 2, 12).double()
    k_table[:, 0, 8] = 1.0
    rate = torch.tensor([turn]).double()
    return {"raw_q": raw_q, "raw_k": raw_k, "wq": q_table, "wk": k_table, "frequency": rate}


GATED = {"block": 4, "given": "weights", "gate_dim": 2}


def test_seer_blocks_stand_at_their_first_tokens() -> None:
    """Query 19 and token 8, the first of block 2, are a full turn apart; no other block's first is."""
    q, k, v = qkv(20)
    one = torch.ones_like(k)
    given = gate_of_means(torch.ones_like(q)[:, :, 19:], one, (5.0, 5.0), 2 * math.pi / 11)
    op = load("seer_attention", **GATED, stage="decode", by="top", topk=2)
    chosen = op.select(q[:, :, 19:], k, v, q_offset=19, **given)["decoded"]
    assert members(chosen[0, 0, 0]) == [2, 4]


def test_seer_heads_of_a_key_head_are_summed_before_the_softmax() -> None:
    """Two heads that cancel leave all blocks alike, which neither does."""
    q, k, v = qkv(20, heads=2, kv_heads=1)
    raw_k = torch.arange(20.0).double().view(1, 1, 20, 1).expand_as(k)
    last = torch.ones_like(q)[:, :, 19:]
    op = load("seer_attention", **GATED, stage="decode", threshold=0.15)
    for wq, expected in (((1.0, -1.0), [0, 1, 2, 3, 4]), ((1.0, 0.0), [4])):
        given = gate_of_means(last, raw_k, wq, 0.0)
        chosen = op.select(q[:, :, 19:], k, v, q_offset=19, **given)["decoded"]
        assert [members(chosen[0, h, 0]) for h in (0, 1)] == [expected] * 2


def test_seer_blocks_that_are_not_full_have_no_summary() -> None:
    """Their logit is 0, whatever their keys: at the query before its end, block 4 takes no weight."""
    q, k, v = qkv(20)
    given = gate_of_means(torch.ones_like(q), torch.ones_like(k) * 9.0, (1.0, 1.0), 0.0)
    op = load("seer_attention", **GATED, stage="decode", threshold=0.22)
    chosen = op.select(q, k, v, **given)["decoded"][0, 0]
    assert members(chosen[18]) == [0, 1, 2, 3, 4]  # the own by force
    assert members(chosen[19]) == [4]  # 1/5 each


def test_seer_short_blocks_are_means_of_what_they_have() -> None:
    q, k, v = qkv(9)
    given = gate_of_means(torch.ones_like(q), torch.ones_like(k), (9.0, 9.0), 0.0)
    op = load("seer_attention", **GATED, threshold=0.3, dense=0)
    assert members(op.select(q, k, v, **given)["prefilled"][0, 0, 2]) == [0, 1, 2]


# -- InfLLM-V2 -------------------------------------------------------------------------------------

SMALL = {"block": 8, "kernel": 4, "stride": 2, "init": 1, "local": 1}


def test_infllm_keeps_one_block_more_than_local() -> None:
    q, k, v = qkv(48)
    chosen = load("infllm_v2", topk=3, **SMALL).select(q, k, v)["chosen"][0, 0]
    assert members(chosen[47]) == [0, 4, 5]
    assert members(chosen[3]) == [0]  # and no future block


def test_infllm_windows_reach_over_the_edge_of_a_block() -> None:
    """The window across blocks 1 and 2 gives its weight to both."""
    q, k, v = qkv(64, heads=1, kv_heads=1)
    k = torch.zeros_like(k)
    k[0, 0, 14:18] = 9.0
    q = torch.ones_like(q)
    chosen = load("infllm_v2", topk=5, **SMALL).select(q, k, v)["chosen"][0, 0]
    assert members(chosen[63]) == [0, 1, 2, 6, 7]


def test_infllm_normalisers_differ_where_heads_are_summed() -> None:
    """Within a head the denominator ranks nothing; between two it does."""
    exact, coarse = (load("infllm_v2", topk=4, **SMALL, normaliser=x) for x in ("exact", "coarse"))
    alone = [op.select(*qkv(96, 2, 2, 1))["chosen"] for op in (exact, coarse)]
    assert torch.equal(*(x[:, :, 15:] for x in alone))
    shared = [op.select(*qkv(96, 4, 1, 1))["chosen"] for op in (exact, coarse)]
    assert not torch.equal(*shared)
