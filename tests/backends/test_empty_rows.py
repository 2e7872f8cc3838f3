"""Queries that attend nothing: every rule in both backends, with finite gradients everywhere."""

from __future__ import annotations

import pytest
import torch

import attnlang
from tests.backends.calls import AttentionCall, check
from tests.backends.test_shapes import tensors

BACKENDS = ("reference", "blocked")
RULES = ("zero", "self", "full", "passthrough")
WHERE = {
    "a few rows": "k.n <= q.n and q.n % 5 != 0",
    "whole tiles": "k.n <= q.n and q.n >= 130",
    "all rows": "q.n < 0",
    "the first row": "k.n < q.n",
    "rows of some heads": "k.n <= q.n and (head > 0 or q.n < 3)",
    "no row": "k.n <= q.n",
}
OPTIONS = {
    "plain": "",
    "score": "score 0.5 * s + 1.0",
    "sink": "sink 0.25",
    "softcap": "softcap 2.0",
}


def source(where: str, rule: str, option: str = "") -> str:
    more = f"        {option}\n" if option else ""
    return f"pattern p:\n    over n\n    attend where {where} empty {rule}\n{more}"


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("where", WHERE)
def test_every_rule(where: str, rule: str, option: str) -> None:
    check(
        AttentionCall(source(WHERE[where], rule, OPTIONS[option]), {}, *tensors(200, width=2), {})
    )


@pytest.mark.parametrize("rule", ["zero", "self", "full"])
def test_rules_where_lengths_differ(rule: str) -> None:
    """A query beyond the keys has no key at its own place."""
    text = source("k.n + 8 <= q.n and q.n < 12", rule)
    check(AttentionCall(text, {}, *tensors(80, 20, width=3, value_width=2), {}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_rules_give(backend: str) -> None:
    q, k, v = (x.detach() for x in tensors(4, heads=1))
    outs, norms = {}, {}
    for rule in RULES:
        op = attnlang.parse(source("k.n < q.n", rule)).compile(backend)
        outs[rule], norms[rule] = op(q, k, v, return_lse=True)
    empty = {rule: out[0, 0, 0] for rule, out in outs.items()}
    scores = (q[0, 0, 0] * k[0, 0]).sum(-1) / 2
    assert torch.equal(empty["zero"], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(empty["self"], v[0, 0, 0])
    torch.testing.assert_close(empty["full"], scores.softmax(-1) @ v[0, 0])
    assert torch.equal(empty["passthrough"], q[0, 0, 0])
    at = {rule: norm[0, 0, 0] for rule, norm in norms.items()}
    assert at["zero"] == at["passthrough"] == -torch.inf
    torch.testing.assert_close(at["self"], scores[0])
    torch.testing.assert_close(at["full"], scores.logsumexp(-1))
    for rule in RULES[1:]:  # the other rows know nothing of the rule
        torch.testing.assert_close(outs[rule][:, :, 1:], outs["zero"][:, :, 1:])
        torch.testing.assert_close(norms[rule][:, :, 1:], norms["zero"][:, :, 1:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["a few rows", "whole tiles", "all rows"])
def test_a_sink_is_all_there_is_of_an_empty_row(backend: str, where: str) -> None:
    """Output 0, and the lse of the sink alone, which learns from it; in unvisited tiles too."""
    text = (
        "pattern p:\n    over n\n    input sinks: float[head]\n"
        f"    attend where {WHERE[where]} sink sinks[head]\n"
    )
    q, k, v = tensors(200)
    sinks = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    out, lse = attnlang.parse(text).compile(backend)(q, k, v, return_lse=True, sinks=sinks)
    empty = ~attnlang.parse(text).mask({"n": 200}, 2)[0].any(-1)
    assert (out[:, :, empty] == 0).all()
    torch.testing.assert_close(lse[0][:, empty], sinks[:, None].expand(2, int(empty.sum())))
    (slope,) = torch.autograd.grad(lse[:, :, empty].sum(), sinks)
    torch.testing.assert_close(slope, torch.full_like(slope, float(empty.sum())))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("where", WHERE)
def test_no_nan_and_the_lse_in_single_precision_or_better(
    where: str, dtype: torch.dtype, backend: str
) -> None:
    q, k, v = tensors(140, dtype=dtype)
    op = attnlang.parse(source(WHERE[where], "zero")).compile(backend)
    out, lse = op(q, k, v, return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert out.isfinite().all()
    assert not lse.isnan().any()
    plain = op(q, k, v)
    for grad in torch.autograd.grad(plain.sum() + out.sum(), (q, k, v)):
        assert grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "score",
    [
        "score s / float(q.n - k.n + 1)",  # by 0 just after the diagonal, which is masked
        "score s * exp(20.0 * (k.n - q.n))",  # overflows far after it
        "score s * exp2(200.0 * (k.n - q.n)) if k.n < q.n else s",
        "score s + t[0] / (q.n - k.n + 1)",
        "score s + log(float(q.n - k.n)) * t[1]",
        "score s / (q.n - k.n) if k.n < q.n else s + t[2]",
        "score exp(t[1] * 400.0 * (k.n - q.n)) * s",
    ],
)
def test_slopes_at_masked_places_do_not_poison_gradients(score: str, backend: str) -> None:
    text = f"pattern p:\n    over n\n    input t: float[3]\n    attend where k.n <= q.n\n        {score}\n"
    q, k, v = tensors(70)
    if "log" in score:
        text = text.replace("k.n <= q.n", "k.n < q.n")
    t = torch.tensor([0.5, 0.25, -1.0], dtype=torch.float64, requires_grad=True)
    out = attnlang.parse(text).compile(backend)(q, k, v, t=t)
    assert out.isfinite().all()
    for grad in torch.autograd.grad(out.square().sum(), (q, k, v, t), allow_unused=True):
        assert grad is None or grad.isfinite().all()
    check(AttentionCall(text, {}, q, k, v, {"t": t}))


def test_an_empty_batch_of_keys_trains_as_well() -> None:
    """Gradients exist, and are 0, even where the whole call attends nothing."""
    q, k, v = tensors(9)
    for backend in BACKENDS:
        out = attnlang.parse(source("q.n < 0", "zero")).compile(backend)(q, k, v)
        for grad in torch.autograd.grad(out.sum(), (q, k, v)):
            assert (grad == 0).all()
