"""Kernels behind one node of a graph: compiled, checked by PyTorch, under autocast, in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attnlang
from attnlang.traced import attend, program_of
from tests.triton.test_attention import DEVICE


def tensors(n: int, *, learned: bool = True, dtype: torch.dtype = torch.float32) -> list[Any]:
    torch.manual_seed(n)
    made = (torch.randn(1, h, n, 16, device=DEVICE, dtype=dtype) for h in (2, 1, 1))
    return [x.requires_grad_(learned) for x in made]


def test_compiled_without_a_break() -> None:
    op = attnlang.compile("stdlib:sliding_window", backend="triton", window=9)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=True)
    def layer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return op(q * 2.0, k, v).sin()  # type: ignore[no-any-return]

    for n in (24, 40):
        given = tensors(n)
        expected = op(given[0] * 2.0, *given[1:]).sin()
        found = layer(*given)
        torch.testing.assert_close(found, expected)
        grads = (torch.autograd.grad(x.sum(), given) for x in (found, expected))
        torch.testing.assert_close(*grads)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_pytorch_checks_the_operator() -> None:
    pattern = attnlang.load("stdlib:sink_logit")
    sink = torch.randn(2, device=DEVICE, requires_grad=True)
    call = (*tensors(16), [sink], "sink;", program_of(pattern, "triton"), [], None, 0)
    torch.library.opcheck(attend, call)


def bfloat16_of_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter keeps bfloat16 as 16-bit integers: it multiplies those, and cuts bits off
    where machines round."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    builder, tl = interpreter.InterpreterBuilder, interpreter.tl
    multiply, cast = builder.create_dot, builder.cast_impl

    def widened(x: Any) -> Any:
        if x.dtype.scalar != tl.bfloat16:
            return x
        wide = (x.data.astype(np.uint32) << 16).view(np.float32)
        return interpreter.TensorHandle(wide, tl.float32)

    def create_dot(self: Any, one: Any, two: Any, *rest: Any) -> Any:
        return multiply(self, widened(one), widened(two), *rest)

    def cast_impl(self: Any, x: Any, to: Any) -> Any:
        if x.dtype.scalar != tl.float32 or to.scalar != tl.bfloat16:
            return cast(self, x, to)
        rounded = torch.as_tensor(x.data).bfloat16().view(torch.int16).numpy().view(np.uint16)
        return interpreter.TensorHandle(rounded, tl.bfloat16)

    monkeypatch.setattr(builder, "create_dot", create_dot)
    monkeypatch.setattr(builder, "cast_impl", cast_impl)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("window", [9, 70])
def test_bfloat16(autocast: bool, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        bfloat16_of_machines(monkeypatch)
    op = attnlang.compile("stdlib:sliding_window", backend="triton", window=window)
    n = 150
    q, k, v = tensors(n, dtype=torch.bfloat16)
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        out, lse = op(q, k, v, return_lse=True)
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    assert out.dtype is torch.bfloat16
    assert lse.dtype is torch.float32
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    band = torch.arange(n)[:, None] - torch.arange(n)[None]
    mask = ((band >= 0) & (band < window)).to(DEVICE)

    def softmax(q: Any, k: Any, v: Any) -> Any:
        scores = (q @ k.mT) * 16**-0.5
        return torch.where(mask, scores, -torch.inf).softmax(-1) @ v

    best = softmax(*exact)
    theirs = [x.detach().requires_grad_() for x in (q, k, v)]
    plain = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=mask, enable_gqa=True
    )
    wanted = [best, *torch.autograd.grad(best.square().sum(), exact)]
    usual = [plain, *torch.autograd.grad(plain.float().square().sum(), theirs)]
    for a, b, c in zip(wanted, (out, *grads), usual, strict=True):
        error, their_error = (float((x.detach().double() - a.detach()).abs().max()) for x in (b, c))
        assert error <= 2 * their_error + 1e-3
