"""What is easily got wrong about gated heads, tokens that leave and tied projections."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from tests.stdlib.test_traps_edits import both, plain, tokens, weights

Tensor = torch.Tensor


def run(name: str, backend: str, *call: Any, given: Any = None, **params: Any) -> Tensor:
    found: Tensor = attnlang.load(f"stdlib:{name}", **params).compile(backend)(
        *call, **(given or {})
    )
    return found


def blended(a: Tensor, first: Tensor, second: Tensor, choose: Tensor) -> Tensor:
    """Two softmaxes over keys of their own, one of them taken for each row."""
    rows = [torch.where(m, a.log(), -torch.inf).softmax(-1) for m in (first, second)]
    return torch.where(choose[:, None], *rows)


@both
def test_ditctrl_chooses_between_two_softmaxes(backend: str) -> None:
    q, k = tokens(9)
    text = torch.arange(9) < 3
    source, target = torch.arange(9) % 2 == 0, torch.arange(9) % 3 == 0
    given = {"text": text, "ms": source[None], "mt": target[None]}
    found = weights("ditctrl_fgbg", backend, q, k, given)
    foreground, background = (text[:, None] | text | m.expand(9, 9) for m in (source, ~source))
    expected = blended(plain(q, k, causal=False), foreground, background, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[:, :, :3], plain(q, k, causal=False)[:, :, :3])


@both
def test_bam_gates_sum_to_one_and_leave_no_expert_out(backend: str) -> None:
    q, k = tokens(7, heads=6)
    route = torch.randn(1, 7, 3).double()
    a = weights("bam_moa", backend, q, k, {"route": route}, experts=3)
    sums = a.sum(-1).view(1, 2, 3, 7)
    torch.testing.assert_close(sums.sum(2), torch.ones(1, 2, 7).double())
    assert (sums > 0).all()


@both
def test_bam_experts_share_key_heads(backend: str) -> None:
    """Two key heads for two experts of two heads: head 1 of each reads key head 1."""
    q, k = tokens(7, heads=4)
    k = k[:, :2]
    route = torch.zeros(1, 7, 2).double()
    a = 2.0 * weights("bam_moa", backend, q, k, {"route": route}, experts=2)
    for h, (expert, mine) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        assert h % 2 == expert
        torch.testing.assert_close(a[:, h], plain(q[:, h], k[:, mine]))


@both
def test_vhr_scales_results_not_scores(backend: str) -> None:
    q, k = tokens(7, heads=4)
    vhd = torch.tensor([0.1, 0.9, 0.2, 0.5]).double()
    a = weights("vhr", backend, q, k, {"vhd": vhd}, alpha=2.0)
    times = torch.tensor([1.0, 2.0, 1.0, 2.0]).double()
    torch.testing.assert_close(a, plain(q, k) * times[:, None, None])


@both
def test_head_roles_are_of_query_heads(backend: str) -> None:
    """Heads of one key head may differ."""
    q, k = tokens(9)
    given = {"retrieval": torch.tensor([True, False])}
    a = weights("head_roles", backend, q, k[:, :1], given, window=2, sinks=1)
    torch.testing.assert_close(a[:, 0], plain(q[:, 0], k[:, 0]))
    assert (a[0, 1, 8] > 0).nonzero()[:, 0].tolist() == [0, 7, 8]


@both
def test_dyvte_decides_for_each_sample(backend: str) -> None:
    q, k = (x.repeat(2, 1, 1, 1) for x in tokens(7))
    image = ((torch.arange(7) >= 1) & (torch.arange(7) < 4)).expand(2, 7)
    given = {"image": image, "exited": torch.tensor([True, False])}
    v = torch.eye(7).double().expand(2, 2, 7, 7)
    a = run("dyvte", backend, q, k, v, given=given)
    torch.testing.assert_close(a[1], plain(q, k)[1])
    assert not a[0, :, 1:4].any()
    assert not a[0, :, :, 1:4].any()
    torch.testing.assert_close(a[0, :, 4:].sum(-1), torch.ones(2, 3).double())


@both
def test_vtc_adds_to_earlier_layers(backend: str) -> None:
    """What the class token gave before counts as much as what it gives now, in the mean of heads."""
    q, k = tokens(6)
    a = plain(q, k, causal=False)[0, :, 0, 1:].mean(0)
    relevance = torch.zeros(1, 5).double()
    relevance[0, a.argmin()] = 1.0
    op = attnlang.load("stdlib:vtc_cls", keep=2).compile(backend)
    kept = op.select(q, k, k, relevance=relevance)["kept"][0].nonzero()[:, 0].tolist()
    assert sorted(kept) == sorted([int(a.argmin()), int(a.argmax())])


def test_adaptinfer_weighs_the_words() -> None:
    """A word that no other looks at says nothing of the image, however much it looks there."""
    n = 6  # one word, two image tokens, three words
    image = torch.tensor([[False, True, True, False, False, False]])
    q, k = torch.zeros(1, 1, n, 4).double(), torch.zeros(1, 1, n, 4).double()
    k[0, 0, 1, 0] = k[0, 0, 2, 1] = k[0, 0, 3, 2] = 6.0
    q[0, 0, 3, 1] = 2.0  # the word that others look at looks at token 2
    q[0, 0, 4, 0] = 4.0  # nobody looks at this one, which looks at token 1
    q[0, 0, 5, 2] = 4.0  # looks at the first of them
    a = plain(q, k)[0, 0]
    assert a[[0, 3, 4, 5], 1].sum() > a[[0, 3, 4, 5], 2].sum()
    for backend in ("reference", "blocked"):
        op = attnlang.load("stdlib:adaptinfer", keep=1).compile(backend)
        assert op.select(q, k, k, image=image)["kept"][0].nonzero()[:, 0].tolist() == [2]


@both
def test_injected_rows_come_last(backend: str) -> None:
    """Between tokens of the subject the transposed scores stay."""
    q, k = tokens(4)
    place = torch.tensor([[-1, 0, 1, -1]])
    z = torch.randn(1, 2, 4, 2).double()
    a = weights("score_inject", backend, q, k, {"place": place, "z": z}, places=2)
    s = q @ k.mT / 2
    s[..., 1:3] = z
    s[..., 1:3, :] = z.mT
    torch.testing.assert_close(a, s.softmax(-1))
    assert not torch.allclose(z[:, :, 1:3], z[:, :, 1:3].mT)


@both
def test_symmetric_scores_are_no_symmetric_weights(backend: str) -> None:
    """The one projection has the gradients of both its parts; k is not read."""
    q, k = (x.requires_grad_() for x in tokens(6))
    v = torch.eye(6).double().expand(1, 2, 6, 6)
    a = run("minimal_symmetric", backend, q, k, v)
    torch.testing.assert_close(a, plain(q, q, causal=False))
    assert not torch.allclose(a, a.mT)
    one, other = (q.detach().clone().requires_grad_() for _ in range(2))
    ways = torch.arange(36.0).view(6, 6).cos()
    parts = torch.autograd.grad((plain(one, other, causal=False) * ways).sum(), (one, other))
    found = torch.autograd.grad((a * ways).sum(), (q, k), allow_unused=True)
    torch.testing.assert_close(found[0], sum(parts))
    assert found[1] is None or not found[1].any()


@both
def test_disentangled_places_are_seen_from_both_ends(backend: str) -> None:
    """Content of the key meets the distance from the key: key 0 is before query 3, query 3 behind it."""
    q, k = tokens(5, heads=1)
    reach = 8
    table = torch.zeros(1, 2 * reach, 4).double()
    behind = table.clone()
    behind[0, reach - 3] = 1.0  # key 0 - query 3
    a = weights("disentangled_bias", backend, q, k, {"Kr": table, "Qr": behind}, reach=reach)
    s = q @ k.mT
    for i, j in ((3, 0), (4, 1)):
        s[0, 0, i, j] += k[0, 0, j].sum()
    torch.testing.assert_close(a, (s / 12**0.5).softmax(-1))


@both
def test_perturbation_is_added_before_the_softmax_and_learned_from(backend: str) -> None:
    q, k = tokens(1, 6)
    r = torch.zeros(1, 6).double().requires_grad_()
    a = weights("attention_at", backend, q, k, {"r": r})
    torch.testing.assert_close(a, (q @ k.mT).softmax(-1))
    (slope,) = torch.autograd.grad(a[..., 2].sum(), r)
    p = a.detach()[0, :, 0]
    expected = (p[:, 2, None] * (torch.arange(6) == 2) - p[:, 2, None] * p).sum(0)
    torch.testing.assert_close(slope[0], expected)


@both
def test_conditions_choose_one_query_for_all_tokens(backend: str) -> None:
    q, k = (x.repeat(2, 1, 1, 1) for x in tokens(5))
    E = torch.randn(2, 3, 4).double()
    given = {"E": E, "cond": torch.tensor([2, 1])}
    v = torch.randn(2, 2, 5, 3).double()
    out = run("conditional_cross_attention", backend, q, k, v, given=given, conditions=3)
    torch.testing.assert_close(out, out[:, :, :1].expand_as(out))
    for b, c in enumerate((2, 1)):
        asked = E[:, c, None]
        expected = (asked @ k[b].mT / 2).softmax(-1) @ v[b]
        torch.testing.assert_close(out[b, :, :1], expected)


@both
def test_gates_of_the_class_token_enter_scores_twice(backend: str) -> None:
    q, k = tokens(1, 6)
    gate = torch.rand(2, 4).double()
    v = torch.randn(1, 2, 6, 4).double()
    out = run("gated_cls", backend, q, k, v, given={"gate": gate})
    g = gate[:, None]
    torch.testing.assert_close(out, g * (((q * g**2) @ k.mT / 2).softmax(-1) @ v))


@both
@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (0.005, 1.0)])
def test_rsq_tokens_count_by_what_they_are_given(backend: str, low: float, high: float) -> None:
    q, k = tokens(9, heads=4)
    k = k[:, :2]
    out = run("rsq_attncon", backend, q, k, k, r_min=low, r_max=high)
    given = [0.0] * 9
    for h in range(4):
        for i in range(9):
            row = (k[0, h // 2, : i + 1] @ q[0, h, i] / 2).softmax(0)
            for j in range(i + 1):
                given[j] += float(row[j])
    least, most = min(given), max(given)
    for j in range(9):
        expected = low + (high - low) * (given[j] - least) / (most - least)
        assert out[0, :, j].flatten().tolist() == pytest.approx([expected] * 4)


@both
def test_padding_is_all_that_masks_differ_from(backend: str) -> None:
    """Text after padding attends as it would alone; what is before any text attends nothing."""
    q, k = tokens(6)
    pad = torch.tensor([[True, True, False, False, False, False]])
    for mask in ("causal", "bidirectional"):
        a = weights("bidir_or_causal", backend, q, k, {"pad": pad}, mask=mask)
        alone = plain(q[:, :, 2:], k[:, :, 2:], causal=mask == "causal")
        torch.testing.assert_close(a[:, :, 2:, 2:], alone)
        assert not a[..., :2].any()
        assert a[:, :, :2].any() == (mask == "bidirectional")  # padding asks, and may see text
    torch.testing.assert_close(weights("bidir_or_causal", backend, q, k, {}), plain(q, k))


@both
def test_gtsp_nodes_that_leave_neither_ask_nor_are_seen(backend: str) -> None:
    """Three of seven are no more than the share, rounded up; importance multiplies what heads give."""
    q, k = tokens(7)
    score = torch.tensor([[0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4]]).double().requires_grad_()
    importance = torch.tensor([0.5, 0.0]).double().requires_grad_()
    given = {"score_of": score, "importance": importance}
    a = weights("gtsp", backend, q, k, given, ratio=0.4)
    kept = [1, 3, 5]
    among = plain(q[:, :, kept], k[:, :, kept], causal=False)
    torch.testing.assert_close(a[0, 0][kept][:, kept], 0.5 * among[0, 0])
    assert int((a != 0).sum()) == 9  # of the first head, between those that stay
    found = torch.autograd.grad(a[:, :, 3, 5].sum(), (score, importance), allow_unused=True)
    assert found[0] is None or not found[0].any()
    torch.testing.assert_close(found[1], among[0, :, 1, 2])  # of the dropped head too


@both
def test_angles_of_space_add_to_those_of_time(backend: str) -> None:
    """Scores depend on differences of angles; without them positions are plain rotary."""
    q, k = tokens(5)
    rate = torch.tensor([1.0, 10000.0**-0.5]).double()
    psi = torch.randn(1, 5, 2).double()
    zero = torch.zeros_like(psi)

    def turned(x: Tensor, angle: Tensor) -> Tensor:
        first, second = x[..., :2], x[..., 2:]
        real = first * angle.cos() - second * angle.sin()
        return torch.cat([real, first * angle.sin() + second * angle.cos()], -1)

    def seen(angle: Tensor) -> Tensor:
        return weights("st_link_se", backend, q, k, {"psi": angle})

    time = torch.arange(5.0).double()[:, None] * rate
    torch.testing.assert_close(seen(zero), plain(turned(q, time), turned(k, time)))
    torch.testing.assert_close(seen(psi), plain(turned(q, time + psi), turned(k, time + psi)))
    torch.testing.assert_close(seen(psi + 1.7), seen(psi))
    torch.testing.assert_close(seen(-time[None]), plain(q, k))  # one undoes the other
