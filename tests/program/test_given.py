"""Inputs as tensors, axes of their own, weights of gathered scores, sizes of sets: by hand."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import AttnlangError

BACKENDS = ("reference", "blocked")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def compiled(body: str, backend: str = "reference") -> attnlang.AttentionOp:
    return attnlang.parse("pattern p:\n    over n\n" + body).compile(backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dims", "heads"), [("head, c, 5", 4), ("c, 5", 1)])
def test_keys_and_values_of_a_call(backend: str, dims: str, heads: int) -> None:
    torch.manual_seed(0)
    op = compiled(
        f"""    part c = range(6)
    input memory: float[batch, {dims}]
    input content: float[batch, {dims}]
    attend q, memory, content where k.c <= q.n empty zero
""",
        backend,
    )
    q, k, v = drawn(2, 4, 9, 5), drawn(2, 2, 9, 5), drawn(2, 2, 9, 5)
    shape = (2, heads, 6, 5) if heads > 1 else (2, 6, 5)
    memory, content = drawn(*shape), drawn(*shape)
    found = op(q, k, v, memory=memory, content=content)
    by_head = [x.view(2, heads, 6, 5).expand(2, 4, 6, 5) for x in (memory, content)]
    scores = q @ by_head[0].mT / 5**0.5
    hidden = torch.arange(6) > torch.arange(9)[:, None]
    expected = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1) @ by_head[1]
    torch.testing.assert_close(found, expected)
    slopes = [
        torch.autograd.grad(x.square().sum(), (q, memory, content)) for x in (found, expected)
    ]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_of_a_call_and_an_axis_that_repeats(backend: str) -> None:
    """Every cluster asks for every token; a token gets the sum over the clusters."""
    torch.manual_seed(0)
    op = compiled(
        """    part c = range(3)
    pool copies[c, n] = first(q)
    found = attend copies, k, v where k.n <= q.n and (k.n + q.c) % 2 == 0 empty zero
    pool total[n] = sum(found)
    return total
""",
        backend,
    )
    q, k, v = (drawn(2, 2, 8, 4) for _ in range(3))
    expected = torch.zeros_like(v)
    at = torch.arange(8)
    for c in range(3):
        seen = (at <= at[:, None]) & ((at + c) % 2 == 0)
        scores = (q @ k.mT / 2.0).masked_fill(~seen, -torch.inf)
        expected = expected + torch.nan_to_num(torch.softmax(scores, -1)) @ v
    torch.testing.assert_close(op(q, k, v), expected)


def test_scores_of_heads_of_their_own_while_decoding() -> None:
    torch.manual_seed(0)
    op = compiled(
        """    input asking: float[batch, 3, len(q.n), 2]
    input offered: float[batch, n, 2]
    select chosen[n, n] from asking, offered where causal(n)
        scale 1.0
        score s * float(head + 1)
        top 2
    attend where chosen[q.n, k.n] empty zero
"""
    )
    q, k, v = drawn(1, 5, 9, 4), drawn(1, 5, 9, 4), drawn(1, 5, 9, 4)
    asking, offered = drawn(1, 3, 9, 2), drawn(1, 9, 2)
    chosen = op.select(q, k, v, asking=asking, offered=offered)["chosen"]
    for i in range(9):
        scores = torch.zeros(9, dtype=torch.float64)
        for h in range(3):
            scores = scores + (h + 1) * (offered[0] @ asking[0, h, i])
        best = sorted(range(i + 1), key=lambda j: -scores[j].item())[:2]
        assert chosen[0, i].nonzero().flatten().tolist() == sorted(best)
    last = op(q[:, :, 6:], k, v, asking=asking[:, :, 6:], offered=offered, q_offset=6)
    torch.testing.assert_close(last, op(q, k, v, asking=asking, offered=offered)[:, :, 6:])


def test_gathered_scores_have_weights() -> None:
    torch.manual_seed(0)
    op = compiled(
        """    part c = windows(n, 4, stride=2)
    part b = blocks(n, 6)
    pool means[c] = mean(k)
    select chosen[n, b] from q, means where true
        gather sum weight float(k.c - 3 * q.b + 2) where k.c >= 3 * q.b - 1 and k.c <= 3 * q.b + 2
        share sum
        top 1
    attend where chosen[q.n, k.n // 6]
        empty zero
"""
    )
    q, k, v = (drawn(1, 2, 18, 4) for _ in range(3))
    chosen = op.select(q, k, v)["chosen"]
    means = torch.stack([k[0, :, s : s + 4].mean(1) for s in range(0, 15, 2)], 1)
    scores = (q[0] @ means.mT / 2.0).sum(0).detach()
    for i in range(18):
        total = [
            sum((c - 3 * b + 2) * float(scores[i, c]) for c in range(8) if -1 <= c - 3 * b <= 2)
            for b in range(3)
        ]
        assert chosen[0, i].nonzero().item() == max(range(3), key=total.__getitem__)


@pytest.mark.parametrize(("dims", "heads"), [("head, ", 4), ("kv_head, ", 2), ("", 1)])
def test_the_size_of_a_set_is_a_number_of_its_queries(dims: str, heads: int) -> None:
    torch.manual_seed(0)
    op = compiled(
        f"""    select chosen[{dims}n, n] from q, k where causal(n)
        above 0.3
    size = count(chosen)
    all = attend where causal(n)
    return all * float(q.size)
"""
    )
    q, k, v = drawn(2, 4, 7, 4), drawn(2, 2, 7, 4), drawn(2, 2, 7, 4)
    sizes = (
        op.select(q, k, v)["chosen"].view(2, heads, 7, 7).sum(-1).repeat_interleave(4 // heads, 1)
    )
    dense = attnlang.load("stdlib:causal").compile("reference")(q, k, v)
    torch.testing.assert_close(op(q, k, v), dense * sizes[..., None])


def test_no_candidate_comes_before_what_is_forced() -> None:
    op = compiled(
        """    select chosen[n, n] from q, k where true
        score exp(s)
        force k.n == q.n
        top 2
    attend where chosen[q.n, k.n]
        empty zero
"""
    )
    x = torch.full((1, 1, 4, 1), 1e3, dtype=torch.float64)  # exp(1e6) is infinite
    chosen = op.select(x, x, x)["chosen"][0].tolist()
    assert [sum(row) for row in chosen] == [2] * 4
    assert all(row[i] for i, row in enumerate(chosen))


def test_what_is_forced_needs_no_candidate_to_score() -> None:
    op = compiled(
        """    part c = windows(n, 9)
    part b = blocks(n, 2)
    pool means[c] = mean(k)
    select chosen[n, b] from q, means where true
        gather max where true
        force k.b == q.n // 2
        top 3
    attend where chosen[q.n, k.n // 2]
        empty zero
""".replace("windows(n, 9)", "windows(n, 9, stride=9)")
    )
    x = drawn(1, 1, 5, 2)
    assert op.select(x, x, x)["chosen"][0].tolist() == [
        [b == i // 2 for b in range(3)] for i in range(5)
    ]


def test_steps_that_nothing_reads_are_left_out() -> None:
    text = """pattern p(by: sums | means = sums):
    over n
    part b = blocks(n, 2)
    pool sums_of[b] = sum(k)
    pool means_of[b] = mean(k)
    with_sums = attend q, sums_of, sums_of where true
    with_means = attend q, means_of, means_of where true
    return with_sums if by == sums else with_means
"""
    module = attnlang.parse(text)
    assert list(module.steps) == ["with_sums"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("    part c = range(n)\n    attend where true\n", "AL"),
        ("    part c = range(2, 3)\n    attend where true\n", "AL312"),
        ("    input x: float[3, n, 4]\n    attend q, x, v where true\n", "AL310"),
        ("    input x: float[3, n, 4]\n    y = x + k\n    attend where true\n", "AL310"),
        (
            "    input x: float[3, n, 4]\n    select r[head, n, n] from x, k where true\n"
            "        top 1\n    attend where r[head, q.n, k.n] empty zero\n",
            "AL314",
        ),
    ],
)
def test_what_given_tensors_cannot_do_is_said(body: str, code: str) -> None:
    with pytest.raises(AttnlangError) as error:
        compiled(body)
    assert code in str(error.value)


def test_an_axis_of_its_own_has_tokens() -> None:
    op = compiled(
        """    input m: float[c, 4]
    attend q, m, m where true
""".replace("    input", "    part c = range(len(n) - 5)\n    input")
    )
    x = drawn(1, 1, 5, 4)
    with pytest.raises(AttnlangError, match="AL406"):
        op(x, x, x, m=drawn(0, 4))
