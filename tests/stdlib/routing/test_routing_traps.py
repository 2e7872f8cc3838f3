"""What is easily got wrong about BiFormer, VMoBA, DSA and the Routing Transformer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.stdlib.routing.test_block_traps import BACKENDS, load, members, qkv

Tensor = torch.Tensor
IMAGE = {"y": 6, "x": 6}
VIDEO = {"t": 2, "y": 4, "x": 4}
BOXES = {"block_t": 1, "block_y": 2, "block_x": 2}


# -- BiFormer --------------------------------------------------------------------------------------


def test_biformer_divides_by_the_full_width() -> None:
    q, k, v = qkv(36)
    out = load("biformer_bra", regions=3, topk=9)(q, k, v, IMAGE)
    dense = torch.softmax(q @ k.mT * 8**-0.5, -1) @ v  # 2 heads of 4
    torch.testing.assert_close(out, dense)


def test_biformer_regions_need_not_choose_themselves() -> None:
    q, k, v = qkv(36)
    chosen = load("biformer_bra", regions=3, topk=1).select(q, k, v, IMAGE)["chosen"][0]
    picks = chosen.flatten(2).flatten(0, 1).float().argmax(-1)
    assert chosen.sum() == 9
    assert not torch.equal(picks, torch.arange(9))


def test_biformer_chooses_without_a_gradient() -> None:
    """One region is chosen: its keys get all the gradient, wherever the means were made."""
    q, k, v = (x.requires_grad_() for x in qkv(36))
    op = load("biformer_bra", regions=3, topk=1)
    chosen = op.select(q, k, v, IMAGE)["chosen"][0]
    seen = chosen.flatten(2).any(0).any(0)
    (slope,) = torch.autograd.grad(op(q, k, v, IMAGE).square().sum(), v)
    region = torch.tensor([y // 2 * 3 + x // 2 for y in range(6) for x in range(6)])
    assert torch.equal(slope[0, 0].abs().sum(-1) > 0, seen[region])


# -- VMoBA -----------------------------------------------------------------------------------------


def moved(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Products with the mean of every box, moved to 0 to 1 over a head, and which are own."""
    at = [(t, y, x) for t in range(2) for y in range(4) for x in range(4)]
    box = torch.tensor([t * 4 + y // 2 * 2 + x // 2 for t, y, x in at])
    means = torch.stack([k[0, 0, box == b].mean(0) for b in range(8)])
    raw = q[0, 0] @ means.T
    return (raw - raw.min()) / (raw.max() - raw.min()), box[:, None] == torch.arange(8)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.6])
def test_vmoba_holds_mass_of_moved_products(tau: float) -> None:
    """Not softmax weights; own boxes count first; the pair that reaches the share is kept."""
    q, k, v = qkv(32, 1, 1)
    scores, own = moved(q, k)
    chosen = load("vmoba", tau=tau, **BOXES).select(q, k, v, VIDEO)["boxes"][0, 0].view(32, 8)
    assert bool(chosen[own].all())
    others = chosen & ~own
    assert int(others.sum()) >= 1  # even where own boxes hold the share alone
    total = scores.sum() + 1e-6
    held, last = scores[chosen].sum() / total, scores[others].min()
    assert float(held) >= tau
    if int(others.sum()) > 1:
        assert float(held - last / total) < tau
    assert float(scores[others].min()) >= float(scores[~chosen].max())


def test_vmoba_shares_its_budget_among_queries() -> None:
    q, k, v = qkv(32, 1, 1)
    q = q * torch.linspace(0.1, 5.0, 32)[:, None].double()
    chosen = load("vmoba", tau=0.4, **BOXES).select(q, k, v, VIDEO)["boxes"][0, 0].view(32, 8)
    assert len({int(n) for n in chosen.sum(-1)}) > 1


def test_vmoba_keeps_another_pair_in_every_scope() -> None:
    """Whatever `tau`: of each query and head, of each block, of each head, or of all."""
    q, k, v = qkv(32, 2, 2)
    for scope, dims, count in (
        ("query_head", (2,), (2, 32)),
        ("block", (0, 1), (8,)),
        ("head_global", (1, 2), (2,)),
        ("overall", (0, 1, 2), ()),
    ):
        op = load("vmoba", tau=0.0, scope=scope, **BOXES)
        chosen = op.select(q, k, v, VIDEO)["boxes"][0].reshape(2, 32, 8)
        own = load("vmoba", by="top", topk=1, **BOXES).select(q, k, v, VIDEO)["boxes"][0]
        assert torch.equal((chosen & ~own.reshape(2, 32, 8)).sum(dims), torch.ones(count).long())


def test_vmoba_cuts_frames_where_its_runs_end() -> None:
    """Runs of 0.7 frames of 15 pixels are 10 tokens, the last of the 45 has 5: a mean of these."""
    q, k, v = qkv(45, 1, 1)
    sizes = {"t": 3, "y": 3, "x": 5}
    op = load("vmoba", partition="d1", run=0.7, by="top", topk=2, scope="query_head")
    chosen = op.select(q, k, v, sizes)["runs"][0, 0].view(45, 5)
    assert all(bool(chosen[i, i // 10]) for i in range(45))
    means = torch.stack([x.mean(0) for x in k[0, 0].split(10)])
    for i in range(45):
        scores = (means @ q[0, 0, i]).index_fill(0, torch.tensor(i // 10), -torch.inf)
        assert members(chosen[i]) == sorted({i // 10, int(scores.argmax())})


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmoba_alone_is_dense(backend: str) -> None:
    q, k, v = qkv(32)
    dense = torch.softmax(q @ k.mT / 2.0, -1) @ v
    top = {"by": "top", "topk": 1, **BOXES}
    torch.testing.assert_close(load("vmoba", backend, **top)(q, k, v, VIDEO), dense)
    own = load("vmoba", backend, alone="own", **top)(q, k, v, VIDEO)
    assert float((own - dense).abs().max()) > 0.1


# -- DSA -------------------------------------------------------------------------------------------


def index(n: int, heads: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"index_q": (1, heads, n, 3), "index_k": (1, n, 3), "weight": (1, heads, n)}
    return {x: torch.randn(s, generator=generator, dtype=torch.float64) for x, s in shapes.items()}


def dsa(topk: int, backend: str = "reference", heads: int = 2) -> Any:
    return load("dsa", backend, topk=topk, index_heads=heads, index_dim=3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dsa_keeps_all_before_topk(backend: str) -> None:
    q, k, v = qkv(12)
    found = dsa(8, backend)(q, k, v, **index(12))
    torch.testing.assert_close(found[:, :, :8], load("causal")(q, k, v)[:, :, :8])


def test_dsa_ties_of_zero_go_to_the_first() -> None:
    """The positive part makes 0 of every product here."""
    q, k, v = qkv(12)
    given = index(12)
    given["index_q"], given["index_k"] = (-given[x].abs() for x in ("index_q", "index_k"))
    given["index_k"] = -given["index_k"]
    chosen = dsa(3).select(q, k, v, **given)["chosen"][0]
    assert [members(r) for r in chosen] == [[*range(min(i + 1, 3))] for i in range(12)]


def test_dsa_weights_may_be_negative() -> None:
    """Then a positive product is worse than none."""
    q, k, v = qkv(4)
    one = torch.ones(1, 1, 4, 3, dtype=torch.float64)
    keys = torch.tensor([5.0, -1.0, 2.0, 1.0]).double()[None, :, None].expand(1, 4, 3)
    for sign, expected in ((1.0, [0, 2]), (-1.0, [1, 3])):
        given = {"index_q": one, "index_k": keys, "weight": sign * one[..., 0]}
        chosen = dsa(2, heads=1).select(q, k, v, **given)["chosen"][0]
        assert members(chosen[3]) == expected  # and the first token is not always in it


def test_dsa_has_one_set_for_all_heads() -> None:
    q, k, v = qkv(12, 4, 1)
    assert dsa(3).select(q, k, v, **index(12))["chosen"].shape == (1, 12, 12)


# -- Routing Transformers --------------------------------------------------------------------------


def centroids(count: int, seed: int = 3) -> Tensor:
    drawn = torch.randn(2, count, 4, generator=torch.Generator().manual_seed(seed)).double()
    return drawn / drawn.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_routing_gives_nothing_to_tokens_in_no_cluster(backend: str) -> None:
    q, k, v = qkv(12)
    op = load("routing_transformer", backend, window=3, clusters=2, keys="context", causal=False)
    given = {"centroids": centroids(2)}
    inside = op.select(q, k, v, **given)["queries"].any(-1)
    assert not bool(inside.all())
    assert torch.equal(op(q, k, v, **given).abs().sum(-1) > 0, inside)


def test_routing_is_the_mean_over_clusters() -> None:
    """Two clusters at the same place: not one softmax over the keys of both, and not their sum."""
    q, k, v = qkv(6)
    one, two = (
        load("routing_transformer", window=6, clusters=c, keys="context", causal=False)
        for c in (1, 2)
    )
    place = centroids(1)
    once = one(q, k, v, centroids=place)
    torch.testing.assert_close(
        two(q, k, v, centroids=place.expand(2, 2, 4)), once, atol=1e-4, rtol=0
    )
    dense = torch.softmax(q @ k.mT / 2.0, -1) @ v
    torch.testing.assert_close(once, dense / (1 + 1e-5))


def test_routing_queries_and_keys_of_a_cluster_differ() -> None:
    q, k, v = qkv(12)
    op = load("routing_transformer", window=4, clusters=3, keys="context", causal=False)
    sets = op.select(q, k, v, centroids=centroids(3))
    assert not torch.equal(sets["queries"], sets["members"])
    assert bool((sets["members"].sum(2) == 4).all())


def test_routing_attends_itself_only_alone() -> None:
    q, _, v = qkv(12)
    op = load("routing_transformer", window=4, clusters=3)
    inside = op.select(q, q, v, centroids=centroids(3))["members"]
    out = op(q, q, v, centroids=centroids(3))
    for h in range(2):
        first = min(members(inside[0, h].any(-1)))
        own = v[0, h, first] * float(inside[0, h, first].sum())
        own = own / (float(inside[0, h, first].sum()) + 1e-5)
        torch.testing.assert_close(out[0, h, first], own)  # nothing else is before it


def test_routing_choices_look_ahead() -> None:
    """Attention is causal, choosing is not: a later token may push an earlier one out."""
    q, _, v = qkv(12)
    op = load("routing_transformer", window=4, clusters=2)
    place = centroids(2)
    later = q.clone()
    later[:, :, 11] = 10 * place[:, 0]
    before, after = (op.select(x, x, v, centroids=place)["queries"] for x in (q, later))
    assert not torch.equal(before[:, :, :11], after[:, :, :11])


@pytest.mark.parametrize("backend", BACKENDS)
def test_routing_memory_leaves_no_query_alone(backend: str) -> None:
    """Keys chosen apart from the queries: a query before all of them has its memory, or nothing."""
    q, k, _ = qkv(12)
    v = torch.randn(1, 2, 12, 4, dtype=torch.float64)
    given = {"centroids": centroids(3)}
    learned = {n: torch.randn(2, 3, 1, 4).double() for n in ("memory_keys", "memory_values")}
    some = {"window": 4, "clusters": 3, "keys": "own"}
    op = load("routing_transformer", backend, **some)
    sets = op.select(q, k, v, **given)
    chosen, offered = sets["queries"][0], sets["members"][0].cumsum(1) > 0
    h, i = (chosen.any(-1) & ~(chosen & offered).any(-1)).nonzero()[0].tolist()
    assert not op(q, k, v, **given)[0, h, i].any()
    op = load("routing_transformer", backend, memory="learned", **some)
    found = op(q, k, v, **given, **learned)[0, h, i]
    mine = members(sets["queries"][0, h, i])
    expected = learned["memory_values"][h, mine, 0].sum(0) / (len(mine) + 1e-5)
    torch.testing.assert_close(found, expected)
