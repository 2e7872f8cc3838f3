"""What is easily got wrong in patterns with a running sum, and the one that only looks like one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")


def decays(name: str, heads: int, **params: object) -> Tensor:
    """By which factor a token's weight falls with the next token, for each head."""
    q = torch.ones(1, heads, 2, 1, dtype=torch.float64)
    v = torch.tensor([1.0, 0.0]).double().expand(1, heads, 2)[..., None]
    out = attnlang.load(f"stdlib:{name}", **params).compile("reference")(q, q, v)
    return out[0, :, 1, 0] / out[0, :, 0, 0]


@pytest.mark.parametrize("layer", [0, 3, 7])
def test_three_decays_of_lightning_attention(layer: int) -> None:
    """Eight heads and layers, from the numbers that the three sources print."""
    given = {"layer": layer, "layers": 8, "activation": "none"}
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.0625, 2**-5, 2**-6, 2**-7, 2**-8]).double()
    repo = decays("lightning_attention", 8, **given)
    torch.testing.assert_close(repo, torch.exp(-slopes * (1 - layer / 7 + 1e-5)))
    paper = decays("lightning_attention", 8, convention="paper", **given)
    torch.testing.assert_close(paper, torch.exp(-torch.arange(8.0).double() * (7 - layer) / 8))
    fla = decays("lightning_attention", 8, convention="fla", **given)
    torch.testing.assert_close(fla, torch.exp(-torch.arange(8.0).double() * (8 - layer) / 8))
    assert (repo[0] < repo[1:]).all()  # head 0 forgets fastest
    assert float(paper[0]) == float(fla[0]) == 1.0  # head 0 never forgets
    assert (layer == 7) == bool((paper == 1.0).all())  # nor does any head of the last layer


def test_slopes_of_other_counts_of_heads() -> None:
    """Six: the four of four heads, then the first and third of eight."""
    found = -decays("lightning_attention", 6, activation="none").log() / (1 + 1e-5)
    wanted = torch.tensor([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]).double()
    torch.testing.assert_close(found, wanted)


def test_only_fla_divides_scores() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4, dtype=torch.float64)
    given = {"layers": 1, "activation": "none"}
    paper, fla = (
        attnlang.load("stdlib:lightning_attention", convention=c, **given).compile()(q, k, v)
        for c in ("paper", "fla")
    )
    torch.testing.assert_close(paper[:, 0], 2 * fla[:, 0])


def test_the_last_transnormer_layer_forgets_nothing() -> None:
    """Layers count from 0: with one layer it is the last, and rate 8 h / H * (1 - 1 / 1) is none."""
    q, k, v = torch.randn(3, 1, 4, 40, 4, dtype=torch.float64)
    for layer, forgets in ((0, [False, True, True, True]), (1, [False] * 4)):
        op = attnlang.load(
            "stdlib:transnormer_gla", positions="none", layers=2, layer=layer
        ).compile()
        for head in range(4):  # nor does head 0 of any layer
            moved = v.clone()
            moved[:, head, 0] += 1.0
            apart = (op(q, k, v) - op(q, k, moved))[:, :, -1].abs().max()
            assert bool(apart < 1e-12) is forgets[head]


def test_transnormer_sees_angles_between_tokens_alone() -> None:
    """Turned by a place of their own, queries and keys meet at the difference: a long way back."""
    q, k, v = torch.randn(3, 1, 2, 9, 4, dtype=torch.float64)
    theta = torch.randn(2, 4).double()
    op = attnlang.load("stdlib:transnormer_gla", layers=1).compile()
    late = [torch.cat([torch.zeros(1, 2, 50, 4).double(), x], 2) for x in (q, k, v)]
    torch.testing.assert_close(op(q, k, v, theta=theta), op(*late, theta=theta)[:, :, 50:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_retention_of_many_heads_still_forgets(dtype: torch.dtype) -> None:
    """1 - 2^(-5 - h) is 1 in half precision from the fifth head on."""
    heads, n = 12, 2048
    q = torch.ones(1, heads, n, 1, dtype=dtype)
    v = torch.zeros(1, heads, n, 1, dtype=dtype)
    v[:, :, 0] = 1
    op = attnlang.load("stdlib:retention", positions="none").compile("blocked")
    found = op(q, q, v)[0, :, -1, 0].double()
    wanted = (1 - 2.0 ** (-5 - torch.arange(heads).double())) ** (n - 1)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-4)


def test_gated_delta_decays_before_it_reads() -> None:
    """The second token corrects what its key reads from the decayed state."""
    k = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()[None, None]
    v = torch.tensor([[3.0], [5.0]]).double()[None, None]
    a = torch.tensor([0.0, math.log(0.5)]).double()[None, :, None]
    beta = torch.tensor([1.0, 0.25]).double()[None, :, None]
    for backend in BACKENDS:
        out = attnlang.compile("stdlib:gated_delta_net", backend=backend)(k, k, v, a=a, beta=beta)
        wanted = torch.tensor([3.0, 1.5 + 0.25 * (5.0 - 1.5)]).double() / math.sqrt(2)
        torch.testing.assert_close(out[0, 0, :, 0], wanted)


def test_decays_above_zero_are_refused() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="no value above 0"):
        attnlang.compile("stdlib:simple_gla")(q, k, v, a=torch.full((1, 5, 2), 0.1))


def test_normalised_attention_may_grow() -> None:
    """eta falls by a factor of a million a token: the plain sum does not mind."""
    q, k, v = torch.rand(3, 1, 1, 6, 4, dtype=torch.float64)
    log_eta = -torch.arange(6.0).double()[None, :, None] * math.log(1e6)
    for backend in BACKENDS:
        out = attnlang.compile("stdlib:dsf_normalized", backend=backend)(q, k, v, log_eta=log_eta)
        past = torch.tril(torch.ones(6, 6, dtype=torch.bool))
        wanted = torch.where(past, q @ k.mT, 0.0) @ v / log_eta.exp()[:, None]
        torch.testing.assert_close(out, wanted)


def test_based_weights_are_never_negative() -> None:
    """At x = -1 the polynomial has its minimum, one half."""
    n, d = 50, 16
    x = torch.linspace(-40, 40, n, dtype=torch.float64)[None, None, :, None]
    q, k = x * torch.ones(d).double(), torch.ones(1, 1, n, d).double() / 4
    v = torch.eye(n, dtype=torch.float64)[None, None]
    weights = attnlang.compile("stdlib:based_taylor", backend="blocked")(q, k, v)
    assert bool((weights > -1e-12).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, n).double())


@pytest.mark.parametrize("causal", [False, True])
def test_random_features_approach_softmax(causal: bool) -> None:
    torch.manual_seed(0)
    q, k, v = 0.5 * torch.randn(3, 1, 1, 16, 4, dtype=torch.float64)
    w = torch.randn(1, 200_000, 4, dtype=torch.float64)
    p = attnlang.load("stdlib:performer", features=200_000, causal=causal)
    out = p.compile("blocked")(q, k, v, w=w)
    kind = "causal" if causal else "full"
    expected = attnlang.compile(f"stdlib:{kind}", backend="reference")(q, k, v)
    torch.testing.assert_close(out, expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_far_apart_keep_their_softmax(backend: str) -> None:
    """Sums of exponentials alone would be infinite, or nothing."""
    scores = torch.tensor([-3e4, 2e4, -1e4, 4e4, 4e4 + 1, 0.0]).double()
    k = (scores * 2.0)[None, None, :, None].requires_grad_()
    v = torch.randn(1, 1, 6, 3, dtype=torch.float64, requires_grad=True)
    query = torch.full((1, 1), 0.5, dtype=torch.float64)
    out = attnlang.compile("stdlib:aaren", backend=backend)(k, k, v, query=query)
    rows = [scores[: i + 1].softmax(0) @ v[0, 0, : i + 1] for i in range(6)]
    torch.testing.assert_close(out[0, 0], torch.stack(rows))
    for grad in torch.autograd.grad(out.square().sum(), (k, v)):
        assert grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_of_half_precision_are_not_rounded(backend: str) -> None:
    """1000 and 1001 are one number in bfloat16: their weights would be alike."""
    k = torch.tensor([[1000.0, 0.0], [1000.0, 1.0]]).bfloat16()[None, None]
    v = torch.tensor([[0.0], [1.0]]).bfloat16()[None, None]
    query = torch.full((1, 2), 2.0**0.5)
    out = attnlang.compile("stdlib:aaren", backend=backend)(k, k, v, query=query)
    assert float(out[0, 0, 1, 0]) == pytest.approx(1 / (1 + math.exp(-1)), abs=5e-3)


def test_no_query_of_a_token_matters() -> None:
    q, other, k, v = torch.randn(4, 1, 2, 7, 4)
    query = torch.randn(2, 4)
    op = attnlang.compile("stdlib:aaren")
    assert torch.equal(op(q, k, v, query=query), op(other, k, v, query=query))


def test_cosines_reach_the_length_that_is_said() -> None:
    q = torch.rand(1, 1, 6, 4)
    with pytest.raises(PatternError, match="length == 0 or length >= max"):
        attnlang.load("stdlib:cosformer", length=5).compile()(q, q, q)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "m"), [(5, 9), (9, 5)])
def test_cosines_of_another_sequence(backend: str, n: int, m: int) -> None:
    """Places are counted in the longer of the two."""
    q, k, v = (torch.rand(1, 2, x, 4, dtype=torch.float64) for x in (n, m, m))
    away = torch.arange(n)[:, None] - torch.arange(m)
    weights = (q @ k.mT) * torch.cos(math.pi / 2 * away / max(n, m))
    op = attnlang.load("stdlib:cosformer", causal=False).compile(backend)
    torch.testing.assert_close(op(q, k, v), weights / weights.sum(-1, keepdim=True) @ v)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "m"), [(5, 9), (9, 4), (1, 6), (7, 1)])
def test_random_features_of_another_sequence(backend: str, n: int, m: int) -> None:
    """Every query sees all keys: the sums are the keys' alone. A state has no place in it."""
    q, k, v = (torch.randn(2, 2, x, 4, dtype=torch.float64) for x in (n, m, m))
    w = torch.randn(2, 6, 4, dtype=torch.float64)
    op = attnlang.load("stdlib:performer", features=6).compile(backend)
    phi = [torch.exp(x @ w.mT / 2**0.5 - x.square().sum(-1, keepdim=True) / 4) for x in (q, k)]
    weights = phi[0] @ phi[1].mT
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = op(*leaves, w=w)
    wanted = weights / weights.sum(-1, keepdim=True) @ v.detach()
    torch.testing.assert_close(out, wanted)
    slopes = torch.autograd.grad(out.square().sum(), leaves)
    assert all(bool(x.isfinite().all()) for x in slopes)
    with pytest.raises(ValueError, match="a query for each key"):
        op(*leaves, w=w, doc=(torch.zeros(2, n).long(), torch.zeros(2, m).long()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_feature_relu(backend: str) -> None:
    """f = (1 / N) sum over kept keys of relu(q . x_i) <v, x_i>, key by key."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, n, 4)) for n in (5, 9, 9))
    pad = rng.random((2, 9)) < 0.4
    pad[1] = True
    expected = np.zeros((2, 3, 5, 4))
    for b, h, i in np.ndindex(2, 3, 5):
        kept = [j for j in range(9) if not pad[b, j]]
        for j in kept:
            expected[b, h, i] += max(float(q[b, h, i] @ k[b, h, j]), 0.0) * v[b, h, j] / len(kept)
    op = attnlang.compile("stdlib:relu_attention_rf", backend=backend)
    tensors = [torch.from_numpy(x).requires_grad_() for x in (q, k, v)]
    out = op(*tensors, pad=torch.from_numpy(pad))
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    for grad in torch.autograd.grad(out.square().sum(), tensors):
        assert grad.isfinite().all()
        assert not grad[1].any()  # every key of the second sample is padding


@pytest.mark.parametrize("backend", BACKENDS)
def test_sala_follows_its_schedule(backend: str) -> None:
    """One sparse layer of four, equal to the pattern of its own; kinds may be said instead."""
    q = torch.randn(1, 4, 90, 8, dtype=torch.float64)
    k, v = torch.randn(2, 1, 2, 90, 8, dtype=torch.float64)
    few = {"topk": 3, "block": 16, "local": 0}
    sparse = attnlang.load("stdlib:infllm_v2", **few).compile(backend)(q, k, v)
    summed = attnlang.load("stdlib:sala_linear").compile(backend)(q, k, v)
    kinds = []
    for layer in range(8):
        op = attnlang.load("stdlib:sala", layer=layer, **few).compile(backend)
        out = op(q, k, v)
        kinds.append("chosen" in op.pattern.steps)
        torch.testing.assert_close(out, sparse if kinds[-1] else summed)
    assert kinds == [True, False, False, False] * 2
    forced = attnlang.load("stdlib:sala", layer=1, kind="sparse", **few).compile(backend)
    torch.testing.assert_close(forced(q, k, v), sparse)
    assert list(attnlang.load("stdlib:sala", kind="linear").steps) == ["summed"]
