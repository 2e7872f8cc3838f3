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
    return float((a.double() - b.double()).square().mean().sqrt())


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
