"""Errors against float64: at most twice those of torch's own attention with the same mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import attnlang

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
WHERE = {
    "causal": "k.n <= q.n",
    "window": "0 <= q.n - k.n < 48",
    "sinks": "k.n <= q.n and (q.n - k.n < 30 or k.n < 4)",
    "blocks": "q.n // 32 == k.n // 32",
    "holes": "(q.n - k.n) % 7 < 2",
}
SLACK = 1e-7
N, WIDTH = 190, 32


def pattern(where: str, *options: str) -> attnlang.Pattern:
    more = "".join(f"        {o}\n" for o in options)
    return attnlang.parse(f"pattern p:\n    over n\n    attend where {where}\n{more}")


def draw(kv_heads: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    heads = (2, kv_heads, kv_heads)
    return [torch.randn(1, h, N, WIDTH, generator=generator, dtype=torch.float64) for h in heads]


def rms(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.double() - b.double()).detach().square().mean().sqrt().item()


@pytest.mark.parametrize("path", ["plain", "lse"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_errors_are_within_twice_those_of_sdpa(
    where: str, dtype: str, path: str, kv_heads: int
) -> None:
    p = pattern(WHERE[where])
    mask = p.mask({"n": N})[0]
    rounded = [x.to(DTYPES[dtype]) for x in draw(kv_heads)]
    exact = [x.double().requires_grad_() for x in rounded]
    theirs = [x.clone().requires_grad_() for x in rounded]
    ours = [x.clone().requires_grad_() for x in rounded]
    gqa = kv_heads == 1
    truth = F.scaled_dot_product_attention(*exact, attn_mask=mask, enable_gqa=gqa)
    peer = F.scaled_dot_product_attention(*theirs, attn_mask=mask, enable_gqa=gqa)
    op = p.compile("blocked")
    found = op(*ours, return_lse=True)[0] if path == "lse" else op(*ours)
    grad = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    slopes = [
        torch.autograd.grad(out, leaves, grad.to(out.dtype))
        for out, leaves in ((truth, exact), (peer, theirs), (found, ours))
    ]
    rows = zip((truth, *slopes[0]), (peer, *slopes[1]), (found, *slopes[2]), strict=True)
    for name, (t, a, b) in zip(("out", "dq", "dk", "dv"), rows, strict=True):
        assert rms(b, t) <= 2 * rms(a, t) + SLACK, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_lse_accumulates_in_single_precision(dtype: str) -> None:
    p = pattern(WHERE["causal"])
    rounded = [x.to(DTYPES[dtype]) for x in draw()]
    _, lse = p.compile("blocked")(*rounded, return_lse=True)
    _, truth = p.compile("reference")(*(x.double() for x in rounded), return_lse=True)
    assert lse.dtype == torch.float32
    # torch's fused kernels of half precisions take a fast exponential.
    assert rms(lse, truth) < (2e-6 if dtype == "fp32" else 3e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_score_edits_accumulate_in_single_precision(dtype: str, backend: str) -> None:
    p = pattern(WHERE["causal"], "score s - 0.01 * (q.n - k.n)", "softcap 20.0")
    rounded = [x.to(DTYPES[dtype]) for x in draw()]
    found = p.compile(backend)(*rounded)
    truth = p.compile("reference")(*(x.double() for x in rounded))
    assert found.dtype == DTYPES[dtype]
    resolution = torch.finfo(DTYPES[dtype]).eps
    torch.testing.assert_close(found.double(), truth, atol=4 * resolution, rtol=2 * resolution)


def test_large_scores_do_not_overflow() -> None:
    p = pattern(WHERE["window"])
    for dtype in DTYPES.values():
        q, k, v = (x.to(dtype) for x in draw())
        for backend in ("reference", "blocked"):
            out, lse = p.compile(backend, scale=60.0)(q, k, v, return_lse=True)
            assert out.isfinite().all()
            assert lse.isfinite().all()


@pytest.mark.parametrize(
    "option", ["score min(s, 0.1) + (0.1 if k.n < 4 else 0.2)", "score s * t[head]"]
)
def test_constants_are_double(option: str) -> None:
    """0.1 in a score is not the float32 nearest to it."""
    text = f"pattern p(t: float[head] = 0.1):\n    over n\n    attend where k.n <= q.n\n        {option}\n"
    q, k, v = draw()
    by_hand = torch.minimum(q @ k.mT / WIDTH**0.5, torch.tensor(0.1, dtype=torch.float64))
    by_hand = by_hand + torch.where(torch.arange(N) < 4, 0.1, 0.2).double().round(decimals=1)
    if "t[head]" in option:
        by_hand = q @ k.mT / WIDTH**0.5 * 0.1
    future = torch.ones(N, N, dtype=torch.bool).triu(1)
    expected = by_hand.masked_fill(future, -torch.inf).softmax(-1) @ v
    for backend in ("reference", "blocked"):
        found = attnlang.parse(text).compile(backend)(q, k, v)
        torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)


def test_a_table_in_where_is_double_too() -> None:
    text = (
        "pattern p(t: float[head] = 0.1):\n    over n\n"
        "    attend where k.n <= q.n and (q.n - k.n) * t[head] <= 1.0\n"
    )
    p = attnlang.parse(text)
    assert p.mask({"n": 30})[0, 20].sum() == 11  # 10 * 0.1 is 1.0
    assert p.plan({"n": 30}).pairs == p.mask({"n": 30}).sum()


@pytest.mark.parametrize("dtype", [*DTYPES, "fp64"])
def test_inputs_of_any_precision_are_computed_with_in_double(dtype: str) -> None:
    """A predicate of a half-precision tensor is not rounded on the way."""
    p = attnlang.parse(
        "pattern p:\n    over n\n    input w: float[batch, n]\n    input t: float[4]\n"
        "    attend where k.w * 3.1 + q.w / 7.0 < t[k.n % 4] * 1.7 empty zero\n"
    )
    kind = DTYPES.get(dtype, torch.float64)
    generator = torch.Generator().manual_seed(0)
    w, t = (torch.randn(s, generator=generator).to(kind) for s in ((1, 200), (4,)))
    exact = 3.1 * w.double()[:, None, :] + w.double()[:, :, None] / 7.0
    truth = exact < t.double().repeat(50) * 1.7
    assert torch.equal(p.mask({"n": 200}, w=w, t=t)[:, 0], truth)
    assert p.plan({"n": 200}, tile=16, w=w, t=t).pairs == truth.sum()


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_half_precision_tables_accumulate_in_single(backend: str) -> None:
    p = attnlang.parse(
        "pattern p:\n    over n\n    input t: float[9]\n    attend where k.n <= q.n\n"
        "        score s + t[k.n % 9] * 3.3 - t[q.n % 9] * 3.3\n"
    )
    q, k, v = (x.float() for x in draw())
    t = torch.randn(9, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    out = p.compile(backend)(q, k, v, t=t)
    truth = p.compile("reference")(*(x.double() for x in (q, k, v)), t=t.double())
    torch.testing.assert_close(out.double(), truth, atol=3e-6, rtol=0)
    (grad,) = torch.autograd.grad(out.sum(), t)
    assert grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "score",
    [
        "score s + t[floor((q.n - k.n) * 0.29) % 9]",  # 100 * 0.29 is just below 29
        "score s + t[int((q.n - k.n + 1) / 0.7) % 9]",
        "score s + (t[0] if (q.n - k.n) * 0.29 < 29.0 else t[1])",
    ],
)
def test_buckets_are_those_of_doubles_in_every_precision(score: str) -> None:
    """In float32 some products round up to the next whole number: another entry of the table."""
    p = attnlang.parse(
        "pattern p:\n    over n\n    input t: float[9]\n    attend where k.n <= q.n\n"
        f"        {score}\n"
    )
    q, k, v = (x.float() for x in draw())
    t = torch.arange(9.0)
    truth = p.compile("reference")(*(x.double() for x in (q, k, v)), t=t)
    found = p.compile("blocked")(q, k, v, t=t)
    torch.testing.assert_close(found.double(), truth, atol=3e-5, rtol=0)
