"""Sums of a query's weights over some of its keys, and what mistakes with them say."""

from __future__ import annotations

import math

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError

BACKENDS = ("reference", "blocked")
Tensor = torch.Tensor

FIRST = """
pattern p:
    over n
    prefix cls: 1 on k
    input marked: bool[batch, n]
    input bar: float[head]
    select odd[head, n] from k where k in grid and k.n % 2 == 1
        score 0.0
        above -1.0
    first = attend q, k, k where k in cls or k.n < q.n
        sink 0.5
    given = row_sum(first, k in cls or k.marked and odd[head, k.n] and bar[head] > 0.0)
    attend where k in cls or causal(n)
        gain q.given
"""


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_of_weights_with_gradients(backend: str) -> None:
    """Told by inputs, places, heads, sets and kinds of keys; beside a sink; the values are the keys."""
    torch.manual_seed(0)
    n = 9
    q, k, v = drawn(2, 4, n, 4), drawn(2, 2, n + 1, 4), drawn(2, 2, n + 1, 3)
    marked, bar = torch.rand(2, n) < 0.7, torch.tensor([1.0, -1.0, 1.0, 1.0])
    out = attnlang.parse(FIRST).compile(backend)(q, k, v, marked=marked, bar=bar)

    keys, values = (x.repeat_interleave(2, 1) for x in (k, v))
    s = q @ keys.mT / 2
    raised = s.exp() * torch.ones(n, n + 1).tril()
    first = raised / (raised.sum(-1, keepdim=True) + math.exp(0.5))
    told = marked & (torch.arange(n) % 2 == 1)
    told = told[:, None] & (bar > 0)[None, :, None]
    told = torch.cat([torch.ones(2, 4, 1, dtype=torch.bool), told], -1)
    part = (first * told[:, :, None]).sum(-1, keepdim=True)
    raised = s.exp() * torch.ones(n, n + 1).tril(1)
    expected = part * (raised / raised.sum(-1, keepdim=True)) @ values

    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    slopes = [torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, expected)]
    for found, wanted in zip(*slopes, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_over_queries_where_values_are_the_keys(backend: str) -> None:
    """Other values stand in for the attention's, not for what else has their name."""
    p = attnlang.parse(
        "pattern p:\n    over n\n    first = attend q, k, k where causal(n)\n"
        "    mass = column_sum(first)\n    attend where causal(n)\n        gain k.mass\n"
    )
    torch.manual_seed(1)
    q, k, v = drawn(1, 2, 7, 4), drawn(1, 2, 7, 4), drawn(1, 2, 7, 3)
    past = torch.ones(7, 7, dtype=torch.bool).tril()
    weights = torch.where(past, q @ k.mT / 2, -torch.inf).softmax(-1)
    expected = (weights * weights.sum(2, keepdim=True)) @ v
    torch.testing.assert_close(p.compile(backend)(q, k, v), expected)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("row_sum(a)", "AL310", "`row_sum(a, condition)` of a softmax attention"),
        ("row_sum(v, true)", "AL310", "`row_sum(a, condition)` of a softmax attention"),
        ("row_sum(a, k.n)", "AL201", "which keys are summed over"),
        ("row_sum(a, q.n == k.n)", "AL310", "the condition is one of keys"),
    ],
)
def test_mistakes_are_said_once(line: str, code: str, words: str) -> None:
    text = (
        "pattern p:\n    over n\n    a = attend where causal(n)\n"
        f"    m = {line}\n    attend where causal(n)\n        gain q.m\n"
    )
    with pytest.raises(PatternError) as found:
        attnlang.parse(text)
    (only,) = found.value.diagnostics
    assert only.code == code
    assert words in str(found.value)


def test_attentions_that_are_only_told_of_do_not_run() -> None:
    """Their weights are summed with values of their own; a log-sum-exp is of the attention itself."""
    sums = attnlang.load("stdlib:act_calibration").ir.program
    assert sums is not None
    assert sums.told == {"plain"}
    both = attnlang.parse(
        "pattern p:\n    over n\n    a = attend where causal(n)\n    b = attend where causal(n)\n"
        "    x = row_sum(a, k.n == 0)\n    y = lse(b)\n    z = row_sum(b, k.n == 0)\n"
        "    attend where causal(n)\n        gain q.x + q.y + q.z\n"
    ).ir.program
    assert both is not None
    assert both.told == {"a"}
