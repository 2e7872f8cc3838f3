"""Patterns with a running sum: three forms, packed documents, states, steps, gradients, extremes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import attnlang
from attnlang.backends.program import linear
from tests.oracles import recurrent as r
from tests.stdlib.recurrent_cases import CASES, HEADS, KEPT, VALUES, Case

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_kept = pytest.mark.parametrize("case", KEPT, ids=str)
each_backend = pytest.mark.parametrize("backend", BACKENDS)
LENGTHS = (9, 1, 14, 6)
DOC = np.repeat(np.arange(4), LENGTHS)[None].repeat(2, axis=0)
N = DOC.shape[1]


def close(found: Tensor, expected: Any, tolerance: float = 1e-10) -> None:
    wanted = torch.as_tensor(expected)
    torch.testing.assert_close(found.detach(), wanted, rtol=tolerance, atol=tolerance)


def tokens(x: dict[str, Tensor], start: int, stop: int, n: int) -> dict[str, Tensor]:
    """Inputs of some tokens; tables stay whole."""
    return {
        k: t[:, start:stop] if k not in ("w", "query", "theta") and t.shape[1] == n else t
        for k, t in x.items()
    }


@each_case
def test_oracles_agree(case: Case) -> None:
    """The recurrence, the explicit decay matrix, and where there are some the weights of pairs."""
    qkv, inputs = case.draw(N)
    sums = case.oracle(qkv, inputs)
    for doc in (None, DOC):
        expected = r.recurrent(sums, doc)
        np.testing.assert_allclose(r.parallel(sums, doc), expected, rtol=1e-9, atol=1e-9)
        if case.pairs is not None:
            q, k = (x.numpy().repeat(HEADS // x.shape[1], axis=1) for x in qkv[:2])
            weights = case.pairs(q, k, {n: x.numpy() for n, x in inputs.items()}, case.params)
            found = r.weighed(weights, sums.v, doc, causal=case.causal, divide=sums.divide)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@each_backend
@each_case
def test_whole_and_packed(case: Case, backend: str) -> None:
    qkv, inputs = case.draw(N)
    op = case.pattern.compile(backend)
    close(op(*qkv, **inputs), case.expected(qkv, inputs))
    doc = torch.from_numpy(DOC)
    close(op(*qkv, **inputs, doc=doc), case.expected(qkv, inputs, DOC))


@each_case
@pytest.mark.parametrize("chunk", [1, 4, 7, 16, 128])
def test_chunks(case: Case, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's chunks change nothing, wherever documents begin."""
    monkeypatch.setattr(linear, "chunkwise", partial(linear.chunkwise, chunk=chunk))
    qkv, inputs = case.draw(N, seed=1)
    op = case.pattern.compile("blocked")
    close(op(*qkv, **inputs), case.expected(qkv, inputs))
    found = op(*qkv, **inputs, doc=torch.from_numpy(DOC))
    close(found, case.expected(qkv, inputs, DOC))


@each_backend
@each_kept
def test_pieces_and_single_steps(case: Case, backend: str) -> None:
    """Prefill in two pieces, then one token at a time."""
    qkv, inputs = case.draw(N)
    op = case.pattern.compile(backend)
    whole, last = op(*qkv, **inputs, return_state=True)
    cuts = [0, 13, 24, *range(25, N + 1)]
    state, outs = None, []
    for i, j in pairwise(cuts):
        here = [x[:, :, i:j] for x in qkv]
        out, state = op(
            *here, q_offset=i, state=state, return_state=True, **tokens(inputs, i, j, N)
        )
        outs.append(out)
    close(torch.cat(outs, 2), whole.detach())
    assert state is not None
    for name, found in last.items():
        close(state[name].s, found.s)


@each_kept
def test_states_go_from_backend_to_backend(case: Case) -> None:
    qkv, inputs = case.draw(N)
    one, two = (case.pattern.compile(b) for b in BACKENDS)
    first = [x[:, :, :20] for x in qkv], tokens(inputs, 0, 20, N)
    rest = [x[:, :, 20:] for x in qkv], tokens(inputs, 20, N, N)
    _, state = one(*first[0], return_state=True, **first[1])
    out = two(*rest[0], q_offset=20, state=state, **rest[1])
    close(out, one(*qkv, **inputs)[:, :, 20:].detach())


@each_backend
@each_case
def test_gradients(case: Case, backend: str) -> None:
    """The slope along one random direction, from the oracle's values on both sides."""
    n = 11
    doc = np.repeat(np.arange(3), (4, 1, 6))[None].repeat(2, axis=0)
    qkv, inputs = case.draw(n)
    leaves = [x.requires_grad_() for x in (*qkv, *inputs.values())]
    out = case.pattern.compile(backend)(*qkv, **inputs, doc=torch.from_numpy(doc))
    rng = np.random.default_rng(0)
    slope = rng.standard_normal(out.shape)
    ways = [torch.from_numpy(rng.standard_normal(x.shape)) for x in leaves]
    grads = torch.autograd.grad(out, leaves, torch.from_numpy(slope), materialize_grads=True)

    def along(step: float) -> float:
        moved = [x.detach() + step * w for x, w in zip(leaves, ways, strict=True)]
        given = dict(zip(inputs, moved[3:], strict=True))
        return float((case.expected(moved[:3], given, doc) * slope).sum())

    wanted = (along(1e-5) - along(-1e-5)) / 2e-5
    found = sum(float((g * w).sum()) for g, w in zip(grads, ways, strict=True))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@each_backend
@each_case
def test_single_tokens_and_half_precision(case: Case, backend: str) -> None:
    qkv, inputs = case.draw(1)
    op = case.pattern.compile(backend)
    close(op(*qkv, **inputs), case.expected(qkv, inputs))
    qkv, inputs = case.draw(N)
    half = [x.to(torch.bfloat16) for x in qkv]
    out = op(*half, **{n: x.float() for n, x in inputs.items()})
    assert out.dtype == torch.bfloat16
    expected = case.expected(half, inputs)
    error = np.abs(out.double().numpy() - expected).max() / np.abs(expected).max()
    assert error < 2e-2


@each_backend
@pytest.mark.parametrize("name", ["simple_gla", "gla", "gated_delta_net"])
@pytest.mark.parametrize("strength", [1e3, 1e30, "mixed"])
def test_extreme_decays(name: str, backend: str, strength: Any) -> None:
    """What forgets everything at once, and what sometimes does: no overflow, no NaN in gradients."""
    case = next(c for c in CASES if c.name == name)
    qkv, inputs = case.draw(N)
    strengths = torch.tensor([0.0, 1e-30, 1e4, 1e30], dtype=torch.float64)
    at = torch.arange(inputs["a"].numel()).reshape(inputs["a"].shape) % 4
    inputs["a"] = -strengths[at] if strength == "mixed" else inputs["a"] * 0 - strength
    leaves = [x.requires_grad_() for x in (*qkv, *inputs.values())]
    out = case.pattern.compile(backend)(*qkv, **inputs)
    close(out, case.expected(qkv, inputs))
    for grad in torch.autograd.grad(out.square().sum(), leaves):
        assert grad.isfinite().all()


@each_backend
def test_long_sequences_of_constant_decays(backend: str) -> None:
    """Single precision, far beyond what a product of decays could hold."""
    op = attnlang.load("stdlib:lightning_attention", convention="fla", layers=2).compile(backend)
    case = next(c for c in CASES if c.name == "lightning_attention")
    qkv, _ = case.draw(400, batch=1)
    single = [x.float().requires_grad_() for x in qkv]
    out = op(*single)
    sums = Case("", case.sums, {"convention": "fla", "layer": 0, "layers": 2}).oracle(qkv, {})
    close(out, r.recurrent(sums).astype(np.float32), 1e-4)
    assert out.shape == (1, HEADS, 400, VALUES)
    for grad in torch.autograd.grad(out.square().sum(), single):
        assert grad.isfinite().all()
