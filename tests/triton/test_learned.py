"""Gradients of the tensors that a score reads: biases by distance, slopes, weights of tokens."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.backends.triton import amounts
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import DEVICE, check

LINE = "over n"
PLANE = "over y, x"
DISTANCE = "clamp(q.n - k.n + 20, 0, 40)"

SCORES: dict[str, tuple[str, dict[str, str], str]] = {
    "a bias by distance": (LINE, {"bias": "float[head, 41]"}, f"s + bias[head, {DISTANCE}]"),
    "outside the table": (LINE, {"bias": "float[9]"}, "s + bias[q.n - k.n - 3]"),
    "two entries": (
        LINE, {"bias": "float[41]"}, f"s + bias[{DISTANCE}] - 0.5 * bias[{DISTANCE} + 1]"
    ),
    "no heads": (LINE, {"bias": "float[41]"}, f"s + 0.5 * bias[{DISTANCE}]"),
    "by batch": (LINE, {"bias": "float[batch, 41]"}, f"s + bias[{DISTANCE}]"),
    "buckets": (LINE, {"bias": "float[head, 8]"}, "s + bias[head, ilog2(1 + abs(q.n - k.n))]"),
    "times the score": (LINE, {"gain": "float[41]"}, f"s * gain[{DISTANCE}] + gain[q.n % 7]"),
    "slopes of heads": (LINE, {"slope": "float[head]"}, "s - slope[head] * abs(q.n - k.n)"),
    "half the heads": (LINE, {"slope": "float[head]"}, "s - slope[head // 2] * k.n"),
    "by query": (LINE, {"bias": "float[head, 150]"}, "s + bias[head, q.n] * tanh(s)"),
    "by key": (LINE, {"bias": "float[head, 150]"}, "s + bias[head, k.n]"),
    "by the pair": (LINE, {"bias": "float[30, 30]"}, "s + bias[q.n, k.n]"),
    "of tokens": (LINE, {"w": "float[batch, n]"}, "s + q.w * k.w"),
    "of tokens and heads": (LINE, {"w": "float[head, n]"}, "s * exp(k.w) - q.w"),
    "by the score": (LINE, {"bias": "float[6]"}, "s + bias[int(2.0 * clamp(s, -1.0, 1.0)) + 2]"),
    "several at different places": (
        LINE, {"a": "float[head, 150, 41]", "b": "float[head, 41]"},
        f"s + a[head, q.n, {DISTANCE}] + b[head, {DISTANCE}] - b[head, k.n]",
    ),
    "in two dimensions": (
        PLANE, {"bias": "float[head, 7, 7]"}, "s + bias[head, q.y - k.y + 3, q.x - k.x + 3]"
    ),
}  # fmt: skip


def call_of(name: str, n: int = 21, heads: int = 2, batch: int = 2) -> AttentionCall:
    axes, inputs, score = SCORES[name]
    declared = "".join(f"    input {x}: {kind}\n" for x, kind in inputs.items())
    where = "k.n <= q.n or k.n < 3" if axes == LINE else "abs(q.y - k.y) <= 2"
    text = f"pattern p:\n    {axes}\n{declared}    attend where {where}\n        score {score}\n"
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    sizes = {"n": n} if axes == LINE else {"y": 4, "x": 5}
    tokens = n if axes == LINE else 20
    named = {"head": heads, "batch": batch, **sizes}
    tensors = {}
    for x, decl in attnlang.parse(text).inputs.items():
        numbers = SCORES[name][1][x].strip("float[]").split(", ")
        shape = [named[d] if d in named else int(d) for d in numbers]
        assert len(shape) == len(decl.dims)
        tensors[x] = normal(*shape)
    q, k, v = normal(batch, heads, tokens, 16), normal(batch, 1, tokens, 16), None
    v = normal(batch, 1, tokens, 16)
    return AttentionCall(text, sizes, q, k, v, tensors)


@pytest.mark.parametrize("name", SCORES)
def test_gradients(name: str) -> None:
    check(call_of(name))


@pytest.mark.parametrize("name", ["a bias by distance", "slopes of heads", "of tokens"])
def test_several_tiles(name: str) -> None:
    check(call_of(name, 150))


def test_programs_share_tiles_where_tables_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "SUMS", 1)
    check(call_of("a bias by distance", 150))


@pytest.mark.parametrize("name", ["a bias by distance", "slopes of heads", "by key"])
def test_they_are_the_same_every_time(name: str) -> None:
    call = call_of(name, 150)
    op = attnlang.parse(call.text).compile("triton")
    q, k, v = (x.to(DEVICE) for x in (call.q, call.k, call.v))
    inputs = {n: x.to(DEVICE).requires_grad_() for n, x in call.inputs.items()}

    def gradients() -> list[torch.Tensor]:
        out = op(q, k, v, call.sizes, **inputs)
        assert isinstance(out, torch.Tensor)
        return list(torch.autograd.grad(out.square().sum(), list(inputs.values())))

    for one, two in zip(gradients(), gradients(), strict=True):
        assert torch.equal(one, two)


def test_tensors_that_are_not_learned_get_no_kernel() -> None:
    call = call_of("a bias by distance")
    op = attnlang.parse(call.text).compile("triton")
    q, k, v = (x.to(DEVICE).requires_grad_() for x in (call.q, call.k, call.v))
    bias = call.inputs["bias"].to(DEVICE)
    out = op(q, k, v, call.sizes, bias=bias)
    assert isinstance(out, torch.Tensor)
    out.sum().backward()
    assert q.grad is not None
    assert bias.grad is None


def test_gradients_of_more_entries_than_kernels_count_are_refused() -> None:
    text = "pattern p:\n    over n\n    input bias: float[65536, 65536]\n    attend where true\n"
    op = attnlang.parse(text + "        score s + bias[q.n, k.n]\n").compile("triton")
    q, k, v = (torch.randn(1, 1, 5, 16, device=DEVICE) for _ in range(3))
    bias = torch.zeros(1, 1, device=DEVICE).expand(65536, 65536).requires_grad_()
    with pytest.raises(attnlang.Unsupported, match=r"2\*\*31 entries"):
        op(q, k, v, bias=bias)
    assert op(q, k, v, bias=bias.detach()).isfinite().all()
