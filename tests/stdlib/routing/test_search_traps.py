"""What is easily got wrong about keys that are found without scoring all pairs."""

from __future__ import annotations

import pytest
import torch

import attnlang
from tests.stdlib.routing.test_token_traps import BACKENDS, load, qkv


def test_hip_asks_the_first_unit_of_a_run_and_every_second_query() -> None:
    """The best key hides behind a run's first one; a query of an even row has no say."""
    n = 16
    q, k = torch.zeros(1, 1, n, 1).double(), torch.zeros(1, 1, n, 1).double()
    v = torch.zeros(1, 1, n, 1).double()
    q[..., 1::2, 0] = 1.0
    k[0, 0, :8, 0] = torch.tensor([1.0, 0.0, 0.0, 9.0, 2.0, 0.0, 0.0, 0.0])
    params = {"mask_k": 1, "block_q": 4, "block_k": 1, "window": 8}
    found = load("hip_attention", **params).select(q, k, v)["found"][0, 0]
    assert found[3].nonzero().flatten().tolist() == [4]  # 9.0 at 3 was never asked
    assert found[1].sum() == 0  # the window is all there is
    turned = q.roll(1, 2)
    k[0, 0, 4, 0] = -2.0
    even = load("hip_attention", **params).select(turned, k, v)["found"][0, 0]
    assert even[3].nonzero().flatten().tolist() == [0]  # products are all 0: the first


def test_hip_asks_the_centre_of_a_run() -> None:
    """Halves of 8 keys ask 2 and 6, then those of 0 to 3 ask 1 and 3: the best at 0 is never asked."""
    n = 16
    q, k = torch.ones(1, 1, n, 1).double(), torch.zeros(1, 1, n, 1).double()
    k[0, 0, :8, 0] = torch.tensor([9.0, 0.0, 2.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    params = {"mask_k": 1, "block_q": 4, "block_k": 1, "window": 8, "representative": "centre"}
    found = load("hip_attention", **params).select(q, k, torch.zeros_like(q))["found"][0, 0]
    assert found[3].nonzero().flatten().tolist() == [2]


def test_hip_stages_ask_nothing_of_a_chunk_that_was_left() -> None:
    """The best key is in a chunk whose first unit is not, and out after one stage."""
    n = 16
    q, k = torch.ones(1, 1, n, 1).double(), torch.zeros(1, 1, n, 1).double()
    k[0, 0, :, 0] = torch.tensor([0.0, 9.0, 9.0, 9.0, 2.0, 0.0, 3.0, 0.0] + [1.0] * 8)
    stages = {"by": "stages", "chunk_1": 4, "keep_1": 8, "chunk_2": 2, "keep_2": 4}
    params = {"mask_k": 1, "block_q": 16, "block_k": 1, "window": 0, **stages}
    sets = load("hip_attention", **params).select(q, k, torch.zeros_like(q))
    kept = [sets[f"left_{i}"][0, 0, 0].nonzero().flatten().tolist() for i in (1, 2, 3)]
    assert kept == [[1, 2], [2, 3], [6]]
    centred = load("hip_attention", **params, representative="centre")
    sets = centred.select(q, k, torch.zeros_like(q))
    kept = [sets[f"left_{i}"][0, 0, 0].nonzero().flatten().tolist() for i in (1, 2, 3)]
    assert kept == [[0, 1], [0, 1], [1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_hip_searches_before_the_window_alone(backend: str) -> None:
    """Keys of the window are seen anyway, so `mask_k` others are found beside them."""
    q, k, v = qkv(24)
    op = load("hip_attention", backend, mask_k=4, block_q=4, block_k=2, window=6, sinks=1)
    found = op.select(q, k, v)["found"][0, 0]
    for a in range(6):
        last = 4 * (a + 1) - 6
        assert found[a].sum() == min(max(-(-last // 2), 0), 2)
        assert not found[a, max(-(-last // 2), 0) :].any()
    i, j = torch.arange(24)[:, None], torch.arange(24)
    seen = (j <= i) & ((i - j < 6) | (j < 1) | found[i // 4, j // 2])
    s = (q[0, 0] @ k[0, 0].T / 2).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(op(q, k, v)[0, 0], s.softmax(-1) @ v[0, 0])


def test_hip_needs_all_queries() -> None:
    q, k, v = qkv(8)
    with pytest.raises(attnlang.AttnlangError, match="needs all of them"):
        load("hip_attention")(q[:, :, 4:], k, v, q_offset=4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hyper_attention_counts_a_key_twice(backend: str) -> None:
    """One block of all keys and the first two again: weights of a multiset, in one softmax."""
    q, k, v = qkv(5)
    R = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    params = {"block": 8, "samples": 2, "projections": 3}
    out = load("hyper_attention", backend, sampling="first", **params)(q, k, v, R=R)
    twice = [torch.cat((x, x[:, :, :2]), 2) for x in (k, v)]
    torch.testing.assert_close(out, (q @ twice[0].mT / 2).softmax(-1) @ twice[1])
    none = torch.full((1, 2, 5), 3)
    out = load("hyper_attention", backend, **params)(q, k, v, R=R, drawn=none)
    torch.testing.assert_close(out, (q @ k.mT / 2).softmax(-1) @ v)  # its own block's are masked


@pytest.mark.parametrize("backend", BACKENDS)
def test_hyper_attention_weighs_samples_for_all_keys(backend: str) -> None:
    """Opposite directions fall into blocks of their own; the sample's log-weight is log(n / m)."""
    n = 4
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).double()
    q = k = x[None, None]
    v = torch.eye(n)[None, None].double()
    R = torch.tensor([[1.0, 0.0]]).double()
    drawn = torch.tensor([[[0, 2, 0, 0]]])
    op = load("hyper_attention", backend, block=2, samples=2, projections=1)
    sets = op.select(q, k, v, R=R, drawn=drawn)
    assert sets["near"][0, 0, 0].tolist() == [True, False, True, False]
    out = op(q, k, v, R=R, drawn=drawn)
    own, other = torch.tensor(0.5**0.5).double().exp(), torch.tensor(-(0.5**0.5)).double().exp()
    weights = torch.stack((own, other * 2 * n / 2, own, 0 * own))
    torch.testing.assert_close(out[0, 0, 0], weights / weights.sum())
    own_twice = torch.stack((0 * own, own, 0 * own, own))
    torch.testing.assert_close(out[0, 0, 1], own_twice / own_twice.sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_causal_hyper_attention_is_exact_where_blocks_hold_all(backend: str) -> None:
    """Halves that are one block each, or a sequence that is not halved: plain causal attention."""
    q, k, v = qkv(11)
    R = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    past = torch.ones(11, 11, dtype=torch.bool).tril()
    plain = (q @ k.mT / 2).masked_fill(~past, -torch.inf).softmax(-1) @ v
    for params in ({"block": 8, "min_seq": 2, "levels": 3}, {"block": 1, "min_seq": 11}):
        op = load("hyper_attention", backend, causal=True, samples=1, projections=3, **params)
        torch.testing.assert_close(op(q, k, v, R=R), plain)


def test_causal_hyper_attention_weighs_samples_for_the_half_they_are_of() -> None:
    """Halves of 4 and of 2 tokens with nothing in their blocks: weights of 4 / 1 and 2 / 1."""
    q = torch.zeros(1, 1, 8, 1).double()
    k, v = torch.zeros_like(q), torch.eye(8)[None, None].double()
    R = torch.tensor([[1.0]]).double()
    drawn = torch.zeros(1, 1, 2, 8, dtype=torch.int64)
    drawn[0, 0, 0, [1, 5]], drawn[0, 0, 1, 2] = 1, 1
    op = load(
        "hyper_attention", "reference",
        block=1, samples=1, projections=1, causal=True, min_seq=2, levels=2,
    )  # fmt: skip
    weights = op(q, k, v, R=R, drawn=drawn.flatten(2))[0, 0]
    near = op.select(q, k, v, R=R, drawn=drawn.flatten(2))["near"][0, 0]
    assert near[7].nonzero().flatten().tolist() == [3, 5]  # the last of each half are a block
    expected = torch.tensor([0.0, 0.0, 4.0, 1.0, 0.0, 1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(weights[7], expected / expected.sum())


def test_causal_hyper_attention_needs_levels_for_its_length() -> None:
    q, k, v = qkv(9)
    R = torch.zeros(8, 4).double()
    op = load("hyper_attention", "reference", causal=True, min_seq=2, levels=2)
    with pytest.raises(attnlang.AttnlangError, match="more tokens need more levels"):
        op(q, k, v, R=R)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sparsifiner_gives_the_class_token_all_keys_and_no_place(backend: str) -> None:
    q, k, v = qkv(6)
    coefficients = torch.ones(1, 2, 6, 1).double().requires_grad_()
    basis = torch.arange(6.0)[:, None].double().requires_grad_()
    op = load("sparsifiner", backend, keep=0.25, rank=1)
    out = op(q, k, v, coefficients=coefficients, basis=basis)
    s = q @ k.mT / 2
    torch.testing.assert_close(out[:, :, :1], s[:, :, :1].softmax(-1) @ v)
    torch.testing.assert_close(out[:, :, 1:], s[:, :, 1:, 4:].softmax(-1) @ v[:, :, 4:])
    slopes = torch.autograd.grad(out.sum(), (coefficients, basis), allow_unused=True)
    assert all(x is None or not x.any() for x in slopes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_landmarks_compete_with_the_own_section_and_give_no_value(backend: str) -> None:
    """Two blocks of two tokens, and a section of two: rows sum to 1 without any landmark."""
    q, k, v = (x.detach() for x in qkv(8))
    is_mem = torch.tensor([[False, False, True, False, False, True, False, False]])
    v = torch.eye(8).expand(1, 2, 8, 8).double()
    weights = load("landmark_grouped", backend, block=2)(q, k, v, is_mem=is_mem)
    torch.testing.assert_close(
        weights.sum(-1), torch.tensor([1, 1, 1, 1, 1, 1, 1, 1.0]).double().expand(1, 2, 8)
    )
    assert not weights[..., is_mem[0]].any()
    s = (q @ k.mT / 2)[0, 0]
    first = s[7, [6, 7, 2, 5]].softmax(0)
    torch.testing.assert_close(weights[0, 0, 7, 6:], first[:2])
    torch.testing.assert_close(weights[0, 0, 7, 3:5], first[3] * s[7, 3:5].softmax(0))
    # A landmark's own block is its section: it asks the tokens, and itself is not there.
    first = s[5, [3, 4, 2]].softmax(0)
    torch.testing.assert_close(weights[0, 0, 5, 3:5], first[:2])
    torch.testing.assert_close(weights[0, 0, 5, :2], first[2] * s[5, :2].softmax(0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_landmarks_learn_through_their_keys(backend: str) -> None:
    """The slope of the output by a landmark's key is that of the first softmax; by its value, none."""
    q, k, v = qkv(6)
    is_mem = torch.tensor([[False, False, True, False, False, False]])
    out = load("landmark_grouped", backend, block=2)(q, k, v, is_mem=is_mem)
    by_key, by_value = torch.autograd.grad(out[:, :, 4].cos().sum(), (k, v))
    assert by_key[:, :, 2].abs().min() > 0
    assert not by_value[:, :, 2].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_landmark_without_tokens_keeps_its_weight(backend: str) -> None:
    """Two landmarks in a row: the second's block is empty, and its weight is lost."""
    q, k, _ = (x.detach() for x in qkv(5))
    is_mem = torch.tensor([[False, True, True, False, False]])
    v = torch.eye(5).expand(1, 2, 5, 5).double()
    weights = load("landmark_grouped", backend, block=0)(q, k, v, is_mem=is_mem)
    first = (q @ k.mT / 2)[0, 0, 4, [3, 4, 1, 2]].softmax(0)
    torch.testing.assert_close(
        weights[0, 0, 4], torch.stack([first[2], *[0 * first[0]] * 2, *first[:2]])
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_probsparse_gives_lazy_queries_the_mean(backend: str) -> None:
    """A key drawn twice counts twice in the sum and once for the best; others keep nothing of theirs."""
    q, k, v = (x.detach() for x in qkv(3, 8, heads=1))
    q[0, 0] = torch.eye(4)[:3]
    k[0, 0] = 0.0
    k[0, 0, 0] = torch.tensor([4.0, 5.0, 0.0, 0.0])
    drawn = torch.zeros(3, 8, dtype=torch.int64)
    drawn[0, 0], drawn[0, 1] = 1, 2  # 4 - 4 / 8
    drawn[1, 0] = 3  # 5 - 15 / 8
    drawn[2, 2] = 3  # 0
    op = load("probsparse", backend, factor=1)
    assert op.select(q, k, v, drawn=drawn)["active"][0, 0, :, 0].tolist() == [True, True, False]
    out = op(q, k, v, drawn=drawn)
    torch.testing.assert_close(out[0, 0, :2], (q @ k.mT / 2).softmax(-1)[0, 0, :2] @ v[0, 0])
    torch.testing.assert_close(out[0, 0, 2], v[0, 0].mean(0))
