"""What is easily got wrong about patterns that choose single tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import attnlang

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")


def qkv(n: int, m: int | None = None, heads: int = 2, batch: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    shapes = ((batch, heads, n, 4), (batch, heads, m or n, 4), (batch, heads, m or n, 3))
    made = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return [x.requires_grad_() for x in made]


def load(name: str, backend: str = "reference", **params: Any) -> Any:
    return attnlang.load(f"stdlib:{name}", **params).compile(backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_h2o_decodes_as_the_published_loop(backend: str) -> None:
    """The mask of a step comes from the sums before it; what it hides is forgotten, but for the key
    that is `recent` before, which is hidden for that step and keeps its sum."""
    prompt, steps, heavy, recent = 9, 14, 2, 3
    n = prompt + steps
    q, k, v = (x.detach()[0] for x in qkv(n))
    weights = (q[:, :prompt] @ k[:, :prompt].mT / 2).masked_fill(
        torch.ones(prompt, prompt, dtype=torch.bool).triu(1), -torch.inf
    )
    state = weights.softmax(-1).sum(1)  # the prompt is dense: sums over its rows, not means
    op = load("h2o", backend, heavy=heavy, recent=recent)
    mine = state.clone()
    for at in range(prompt, n):
        mask, keep = torch.zeros(2, at + 1), torch.zeros(2, at)
        for h in range(2):
            order = sorted(range(at - recent), key=lambda j: (-float(state[h, j]), j))
            for j in order[:heavy]:
                mask[h, j] = keep[h, j] = 1.0
        mask[:, -recent:] = 1.0  # one place further than the sums, for the key to come
        keep[:, -recent:] = 1.0
        logits = (k[:, : at + 1] @ q[:, at, :, None])[..., 0] / 2
        a = logits.masked_fill(mask == 0, -torch.inf).softmax(-1)
        expected = (a[..., None] * v[:, : at + 1]).sum(1)
        state = torch.cat((state * keep, torch.zeros(2, 1)), 1) + a

        keys = [x[None, :, : at + 1] for x in (k, v)]
        given = torch.cat((mine, torch.zeros(2, 1)), 1)[None]
        call = {"mass": given, "q_offset": at}
        found = op(q[None, :, at : at + 1], *keys, **call)
        torch.testing.assert_close(found[0, :, 0], expected)
        ones = torch.ones(1, 2, at + 1, 1, dtype=torch.float64, requires_grad=True)
        out = op(q[None, :, at : at + 1], keys[0], ones, **call)
        (added,) = torch.autograd.grad(out.sum(), ones)
        chosen = op.select(q[None, :, at : at + 1], *keys, **call)["oracle"][0, :, 0]
        kept = chosen | (torch.arange(at + 1) >= at - recent)
        mine = torch.where(kept, given[0], 0.0) + added[0, :, :, 0]
        torch.testing.assert_close(mine, state)


def test_zipvl_counts_by_sums_and_chooses_by_means() -> None:
    """A token seen by many rows a little against one seen by the last row alone, much."""
    n = 12
    q, k, v = (torch.zeros(1, 1, n, 2, dtype=torch.float64) for _ in range(3))
    k[0, 0, -1, 0] = q[0, 0, -1, 0] = 3.0
    probe = torch.ones(1, n, dtype=torch.bool)
    op = load("zipvl", tau=0.3)
    sets = op.select(q, k, v, probe=probe)
    heavy, kept = (sets[name][0].nonzero()[:, 0].tolist() for name in ("heavy", "kept"))
    assert heavy[:1] == [0]
    assert n - 1 not in heavy
    assert n - 1 in kept
    assert len(heavy) == len(kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_zipvl_leaves_out_queries_too(backend: str) -> None:
    """One set for all heads, and other tokens give nothing."""
    q, k, v = qkv(14)
    op = load("zipvl", backend, tau=0.6)
    kept = op.select(q, k, v, probe=torch.ones(1, 14, dtype=torch.bool))["kept"][0]
    out = op(q, k, v, probe=torch.ones(1, 14, dtype=torch.bool))
    assert torch.equal(out.any(-1).all((0, 1)), kept)
    assert not out[:, :, ~kept].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_zoology_is_sparse_in_queries(backend: str) -> None:
    """A repeated token sees all its past, the token before its first time included."""
    q, k, v = qkv(6)
    token = torch.tensor([[7, 3, 7, 5, 3, 9]])
    out = load("zoology_selective", backend)(q, k, v, token=token)
    whole = load("causal")(q, k, v)
    for i in range(6):
        expected = whole[:, :, i] if i in (2, 4) else torch.zeros(1, 2, 3)
        torch.testing.assert_close(out[:, :, i], expected.double())


@pytest.mark.parametrize("backend", BACKENDS)
def test_zoology_learns_through_the_factor(backend: str) -> None:
    q, k, v = qkv(6)
    gate = torch.tensor([[0.1, 0.9, 0.3, 0.8, 0.2, 0.05]], dtype=torch.float64, requires_grad=True)
    out = load("zoology_selective", backend, by="learned", topk=2)(q, k, v, gate=gate)
    (slope,) = torch.autograd.grad(out.sum(), gate)
    whole = load("causal")(q, k, v).sum((1, 3))
    expected = torch.where(torch.tensor([[False, True, False, True, False, False]]), whole, 0.0)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pwca_is_one_softmax_over_both_images(backend: str) -> None:
    q, k, v = qkv(5, 12)
    out = load("dcal_pwca", backend)(q, k, v, {"n": 5, "other": 7})
    torch.testing.assert_close(out, (q @ k.mT / 2).softmax(-1) @ v)
    alone = load("dcal_pwca", backend)(q, k[:, :, :5], v[:, :, :5], {"n": 5, "other": 0})
    torch.testing.assert_close(alone, (q @ k[:, :, :5].mT / 2).softmax(-1) @ v[:, :, :5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_glca_has_no_slope_to_the_rollout_and_sees_the_class_token(backend: str) -> None:
    q, k, v = qkv(8)
    rollout = torch.arange(7.0, dtype=torch.float64)[None].requires_grad_()
    out = load("dcal_glca", backend, ratio=0.3)(q, k, v, rollout=rollout)
    assert out.any(-1)[0, 0].tolist() == [False] * 6 + [True] * 2
    torch.testing.assert_close(out[:, :, 6:], ((q @ k.mT / 2).softmax(-1) @ v)[:, :, 6:])
    slope = torch.autograd.grad(out.sum(), rollout, allow_unused=True)[0]
    assert slope is None or not slope.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_keypoints_lie_between_pixels(backend: str) -> None:
    """The map is read between its entries, with a slope to the place; kinds do not compete."""
    q, k, v = (x.detach() for x in qkv(1, 4, heads=1))
    call: dict[str, Tensor] = {
        "quality": torch.tensor([[[0.5, -1.0], [0.2, 0.9]]]).double(),
        "at_y": torch.tensor([[[0.25, 0.0], [-0.5, 9.0]]]).double().requires_grad_(),
        "at_x": torch.tensor([[[-0.75, 0.0], [0.5, 0.0]]]).double(),
        "bias": torch.arange(9.0).double().square().view(1, 3, 3),
    }
    sizes = {"y": 1, "x": 1, "kind": 2, "point": 2}
    out = load("bvr_keysample", backend, topk=20, radius=1)(q, k, v, sizes, **call)
    bias = [[float(x) for x in row] for row in call["bias"][0]]
    at = (1 + call["at_y"][0, 1], 1 + call["at_x"][0, 1])
    near = 0.5 * (0.5 * bias[0][1] + 0.5 * bias[0][2]) + 0.5 * (0.5 * bias[1][1] + 0.5 * bias[1][2])
    far = torch.zeros((), dtype=torch.float64)
    assert float(at[0][0].detach()) == 0.5
    s = (q[0, 0, 0] @ k[0, 0].T) / 2
    second = torch.stack((s[2] + near, s[3] + far)).softmax(0) @ v[0, 0, 2:]
    torch.testing.assert_close(out[0, 0, 0], v[0, 0, 0] + second)
    (slope,) = torch.autograd.grad(out.sum(), call["at_y"])
    assert slope[0, 1, 0] != 0
    assert slope[0, 0, 0] == 0  # alone in its softmax


@pytest.mark.parametrize("backend", BACKENDS)
def test_uoe_fills_lists_with_real_tokens(backend: str) -> None:
    """Three tokens choose head 0 and one head 1: its list is filled up with the first tokens."""
    q, k, v = qkv(4)
    route = torch.tensor([[[0.9, 0.8, 0.1, 0.7], [0.1, 0.2, 0.9, 0.3]]]).double()
    out = load("uoe_smha", backend)(q, k, v, route=route)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    for h, lists in enumerate(([0, 1, 3], [0, 1, 2])):
        there = torch.tensor([i in lists for i in range(4)])
        seen = causal & there & there[:, None]
        s = (q[0, h] @ k[0, h].T / 2).masked_fill(~seen, -torch.inf)
        weights = torch.where(there[:, None], s, 0.0).softmax(-1)
        torch.testing.assert_close(out[0, h], torch.where(there[:, None], weights @ v[0, h], 0.0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_uoe_lists_of_a_batch_are_as_long_as_its_longest(backend: str) -> None:
    """Two of four tokens choose each head; beside a sample where three do, head 1 gets token 0 too."""
    q, k, v = qkv(4)
    route = torch.tensor([[[0.1, 0.9, 0.2, 0.9], [0.9, 0.1, 0.8, 0.1]]]).double()
    op = load("uoe_smha", backend)
    for longest, filled in ((2, [[1, 3], [0, 2]]), (3, [[0, 1, 3], [0, 1, 2]])):
        lists = op.select(q, k, v, route=route, longest=torch.tensor(longest))["lists"][0]
        assert [x.nonzero().flatten().tolist() for x in lists] == filled
    together = op.select(q, k, v, route=route)["lists"][0]
    assert together.sum(-1).tolist() == [2, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_uoe_padding_is_not_seen_but_routed(backend: str) -> None:
    q, k, v = qkv(4)
    route = torch.tensor([[[0.9] * 4, [0.1] * 4]]).double()
    pad = torch.tensor([[False, True, False, True]])
    out = load("uoe_smha", backend, causal=False)(q, k, v, route=route, pad=pad)
    seen = (q @ k.mT / 2).masked_fill(pad, -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(out, seen)  # the second head's list is filled with all tokens


@pytest.mark.parametrize("backend", BACKENDS)
def test_adem_drops_by_sign_and_keeps_ties(backend: str) -> None:
    """A large negative weight goes first; equal keys stay together; the rest is not rescaled."""
    q = torch.tensor([[[[1.0]]]]).double()
    k = torch.tensor([-1.0, 3.0, 2.0, 2.0, 1.0])[None, None, :, None].double()
    v = torch.eye(5)[None, None].double()
    silu = [x / (1 + math.exp(-x)) for x in (1.0, -1.0, 3.0, 2.0, 2.0, 1.0)]
    weights = torch.tensor([silu[0] * x for x in silu[1:]]).double()
    for drop, kept in ((0.0, [1, 1, 1, 1, 1]), (0.2, [0, 1, 1, 1, 1]), (0.6, [0, 1, 1, 1, 0])):
        out = load("adem_vl", backend, drop=drop)(q, k, v)
        torch.testing.assert_close(out[0, 0, 0], weights * torch.tensor(kept))


@pytest.mark.parametrize("backend", BACKENDS)
def test_stkim_hands_weights_on_by_softmax(backend: str) -> None:
    q, k, v = qkv(2, 9)
    draw = torch.rand(1, 2, 2, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    op = load("acmil_stkim", backend, top=4, ratio=0.5)
    sets = op.select(q, k, v, draw=draw)
    assert sets["strongest"].sum(-1).unique().tolist() == [4]
    assert sets["dropped"].sum(-1).unique().tolist() == [2]
    assert not (sets["dropped"] & ~sets["strongest"]).any()
    assert (sets["dropped"][0, :, 0] != sets["dropped"][0, :, 1]).any()  # each row its own
    s = (q @ k.mT / 2).masked_fill(sets["dropped"], -torch.inf)
    torch.testing.assert_close(op(q, k, v, draw=draw), s.softmax(-1) @ v)
    none = load("acmil_stkim", backend, ratio=0.0)(q, k, v, draw=draw)
    torch.testing.assert_close(none, (q @ k.mT / 2).softmax(-1) @ v)
