"""Conditions that are a set or something else, on `blocked`, against every pair's softmax."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.backends.blocked import union

PATTERN = """
pattern p(window: int = 5):
    over n
    part b = blocks(n, 4)
    pool kb[b] = mean(k)
    select r[{head}, n, b] from q, kb where k.b < q.n // 4
        top 2
    attend where {where} empty zero
"""


Q, K = torch.arange(40)[:, None], torch.arange(40)


@pytest.mark.parametrize("head", ["head", "kv_head"])
@pytest.mark.parametrize(
    ("where", "near", "rest"),
    [
        ("causal(n) and (q.n - k.n < window or {set})", Q - K < 5, K <= Q),
        (
            "causal(n) and (k.n < 2 or {set} or q.n - k.n < window) and q.n != 7",
            (K < 2) | (Q - K < 5),
            (K <= Q) & (Q != 7),
        ),
        ("q.n % 3 == k.n % 3 or {set}", Q % 3 == K % 3, K >= 0),
        ("q.n > 9 and ({set} or k.n == q.n)", Q == K, Q > 9),  # ten queries without keys
    ],
)
def test_union(
    where: str, near: torch.Tensor, rest: torch.Tensor, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = []

    def seen(call: union.Call) -> object:
        apart.append(union.apart(call))
        return apart[-1]

    monkeypatch.setattr("attnlang.backends.blocked.attend.apart", seen)
    read = f"r[{head}, q.n, k.n // 4]"
    pattern = attnlang.parse(PATTERN.format(head=head, where=where.format(set=read)))
    n, generator = 40, torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, n, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    k, v = (
        torch.randn(2, 2, n, 8, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(2)
    )
    op = pattern.compile("blocked")
    out, lse = op(q, k, v, return_lse=True)
    assert any(x is not None for x in apart)
    sets = op.select(q, k, v)["r"].repeat_interleave(4, -1)
    attends = (near | (sets if head == "head" else sets.repeat_interleave(2, 1))) & rest
    s = (8**-0.5 * q @ k.repeat_interleave(2, 1).mT).masked_fill(~attends, -torch.inf)
    some = attends.any(-1, keepdim=True)
    weights = torch.where(some, s, 0.0).softmax(-1) * some
    expected = weights @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(lse, s.logsumexp(-1), rtol=1e-10, atol=1e-10)
    found, wanted = (torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
