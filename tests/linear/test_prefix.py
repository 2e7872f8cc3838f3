"""Softmax over every prefix (Aaren): values, gradients, states, empty prefixes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.backends.linear import prefix_softmax
from tests.linear.cases import close
from tests.oracles import linear as oracle

Tensor = torch.Tensor


def random(length: int, spread: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    s = spread * torch.randn(2, 3, length, generator=generator, dtype=torch.float64)
    v = torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64)
    return s, v


def by_rows(s: Tensor, v: Tensor) -> Tensor:
    """With autograd, one softmax a row; s is finite."""
    rows = [s[..., : i + 1].softmax(-1)[..., None, :] @ v[:, :, : i + 1] for i in range(s.shape[2])]
    return torch.cat(rows, 2)


@given(
    length=st.integers(1, 30),
    chunk=st.integers(1, 40),
    spread=st.sampled_from([0.0, 1.0, 50.0, 1e4]),
    nothing=st.sets(st.integers(0, 29)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_values(length: int, chunk: int, spread: float, nothing: set[int], seed: int) -> None:
    """Scores of any size, and of -inf: tokens that take no part."""
    s, v = random(length, spread, seed)
    s[..., [i for i in nothing if i < length]] = -torch.inf
    s = s.requires_grad_()
    out, _ = prefix_softmax(s, v, chunk=chunk)
    for b, h in ((b, h) for b in range(2) for h in range(3)):
        wanted = oracle.prefix_softmax(s[b, h].detach().numpy(), v[b, h].numpy())
        close(out[b, h].detach(), torch.from_numpy(wanted), 1e-9 if spread > 100 else 1e-12)
    (grad,) = torch.autograd.grad(out.sum(), s)
    assert grad.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_gradients(chunk: int) -> None:
    s, v = (x.requires_grad_() for x in random(29))
    slope = torch.randn(2, 3, 29, 4, dtype=torch.float64)
    wanted = torch.autograd.grad(by_rows(s, v), (s, v), slope)
    out, _ = prefix_softmax(s, v, chunk=chunk)
    for a, b in zip(torch.autograd.grad(out, (s, v), slope), wanted, strict=True):
        close(a, b)


def test_gradcheck() -> None:
    s, v = (x[:1, :1].requires_grad_() for x in random(7))
    assert torch.autograd.gradcheck(lambda s, v: prefix_softmax(s, v, chunk=3)[0], (s, v))


def test_pieces_equal_the_whole() -> None:
    """Outputs and the gradients that flow through states, with a prefix that is empty."""
    s, v = random(29)
    s[:, 0, :9] = -torch.inf
    s, v = s.requires_grad_(), v.requires_grad_()
    slope = torch.randn(2, 3, 29, 4, dtype=torch.float64)
    whole, final = prefix_softmax(s, v)
    state, outs = None, []
    for part in (slice(5), slice(5, 6), slice(6, 29)):
        out, state = prefix_softmax(s[..., part], v[:, :, part], state)
        outs.append(out)
    assert state is not None
    pieces = torch.cat(outs, 2)
    close(pieces, whole)
    for a, b in zip((state.m, state.u, state.w), (final.m, final.u, final.w), strict=True):
        close(a, b)
    wanted = torch.autograd.grad(whole, (s, v), slope)
    for a, b in zip(torch.autograd.grad(pieces, (s, v), slope), wanted, strict=True):
        close(a, b)


def test_packed_sequences_equal_separate_ones() -> None:
    """Also where the first sequence has by far the largest scores."""
    s, v = random(29)
    s[..., :9] += 2000.0
    segments = torch.tensor([[0] * 9 + [1] * 20, [5] * 10 + [6] * 2 + [7] * 17])
    found, final = prefix_softmax(s, v, segments=segments, chunk=8)
    for b, cuts in enumerate(([0, 9, 29], [0, 10, 12, 29])):
        for i, j in pairwise(cuts):
            alone, last = prefix_softmax(s[b : b + 1, :, i:j], v[b : b + 1, :, i:j])
            close(found[b : b + 1, :, i:j], alone)
        close(final.m[b : b + 1], last.m)
        close(final.w[b : b + 1], last.w)


def test_half_precision() -> None:
    s, v = random(29)
    out, state = prefix_softmax(s.half(), v.half())
    assert (out.dtype, state.w.dtype) == (torch.float16, torch.float32)
    exact, _ = prefix_softmax(s.half().double(), v.half().double())
    torch.testing.assert_close(out.double(), exact, atol=2e-3, rtol=1e-3)
