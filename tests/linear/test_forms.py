"""The definition, the loop, all pairs at once and chunks: one function, one gradient."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.backends.linear import chunkwise, parallel, parts, recurrent
from tests.linear.cases import DECAYS, Case, close, draw, gradients
from tests.oracles.linear import linear_attention, weighted_sum

SEGMENTS = torch.tensor([[0] * 5 + [1] * 20 + [4] * 12, [2] * 16 + [3] * 21])


def oracle(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    options = {n: x.numpy() if torch.is_tensor(x) else x for n, x in case.options.items()}
    out, final = linear_attention(case.q.numpy(), case.k.numpy(), case.v.numpy(), **options)
    return torch.from_numpy(out), torch.from_numpy(final)


def check(case: Case, chunk: int) -> None:
    """Outputs and states are the definition's, gradients are those of autograd in the loop."""
    out, final = oracle(case)
    case = case.learned()
    looped, state = case.run(recurrent)
    close(looped, out)
    close(state.s, final)
    whole = case.run(parallel)
    close(whole, out)
    for a, b in zip(gradients(case, whole, None), gradients(case, looped, None), strict=True):
        close(a, b, 1e-11)
    found, last = case.run(chunk=chunk)
    close(found, out)
    close(last.s, final)
    wanted = gradients(case, looped, state)
    for a, b in zip(gradients(case, found, last), wanted, strict=True):
        close(a, b, 1e-11)


@pytest.mark.parametrize("chunk", [1, 3, 8, 16, 64])
@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["one", "packed"])
@pytest.mark.parametrize("delta", [False, True], ids=["additive", "delta"])
@pytest.mark.parametrize("decay", DECAYS)
def test_forms_agree(decay: str, delta: bool, segments: torch.Tensor | None, chunk: int) -> None:
    check(draw(decay, delta=delta, segments=segments), chunk)


@given(
    decay=st.sampled_from(DECAYS),
    delta=st.booleans(),
    length=st.integers(1, 40),
    batch=st.integers(1, 2),
    heads=st.sampled_from([(1, 1, 1), (4, 2, 1), (2, 2, 4), (6, 3, 2), (1, 3, 3)]),
    width=st.integers(1, 9),
    value_width=st.integers(1, 9),
    chunk=st.integers(1, 70),
    starts=st.none() | st.sets(st.integers(0, 39), max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_shape(
    decay: str, delta: bool, length: int, batch: int, heads: tuple[int, int, int], width: int,
    value_width: int, chunk: int, starts: set[int] | None, seed: int,
) -> None:  # fmt: skip
    segments = None
    if starts is not None:
        first = torch.zeros(batch, length, dtype=torch.long)
        first[0, [s for s in starts if s < length]] = 1
        segments = first.cumsum(1)
    case = draw(
        decay, delta=delta, batch=batch, length=length, heads=heads, width=width,
        value_width=value_width, segments=segments, seed=seed,
    )  # fmt: skip
    check(case, chunk)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("length", [32, 37])
def test_parts_that_fit_no_cache(
    decay: str, delta: bool, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk at a time, and three."""
    case = draw(decay, delta=delta, length=length)
    for size in (1, 3 * 2 * 4 * 4 * 5 * 8):
        monkeypatch.setattr(parts, "CPU_PART_BYTES", size)
        check(case, 4)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("delta", [False, True])
def test_gradcheck(decay: str, delta: bool) -> None:
    """By finite differences: an initial state, packed sequences and a ragged tail included."""
    segments = torch.tensor([[0, 0, 1, 1, 1, 1, 2]])
    case = draw(
        decay, delta=delta, batch=1, length=7, heads=(2, 1, 2), width=3, value_width=2,
        segments=segments,
    ).learned()  # fmt: skip

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: torch.Tensor) -> object:
        names = [n for n in ("decay", "beta") if n in case.options]
        options = {**case.options, **dict(zip(names, rest, strict=True))}
        out, final = chunkwise(q, k, v, chunk=4, **options)
        return out, final.s

    assert torch.autograd.gradcheck(call, case.leaves)


@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["one", "packed"])
@pytest.mark.parametrize("decay", ["none", "constant"])
def test_both_sides(decay: str, segments: torch.Tensor | None) -> None:
    case = draw(decay, segments=segments).learned()
    cuts = [[0, 5, 25, 37], [0, 16, 37]] if segments is not None else [[0, 37]] * 2
    wanted = torch.zeros(2, 4, 37, 3, dtype=torch.float64)
    for b, h in ((b, h) for b in range(2) for h in range(4)):
        g = case.options["decay"][h // 2].item() if decay == "constant" else 0.0
        q, k, v = (x[b, h * x.shape[1] // 4].detach().numpy() for x in (case.q, case.k, case.v))
        for i, j in pairwise(cuts[b]):
            part = weighted_sum(
                q[i:j], k[i:j], v[i:j], lambda x: 0.7 * x, log_decay=g, causal=False
            )
            wanted[b, h, i:j] = torch.from_numpy(part)
    looped, _ = case.run(recurrent, causal=False)
    close(looped, wanted)
    slopes = gradients(case, looped, None)
    close(case.run(parallel, causal=False), wanted)
    for chunk in (3, 16):
        found, _ = case.run(chunk=chunk, causal=False)
        close(found, wanted)
        for a, b in zip(gradients(case, found, None), slopes, strict=True):
            close(a, b, 1e-11)


def test_nothing_to_attend() -> None:
    case = draw(length=0)
    out, final = case.run()
    assert out.shape == (2, 4, 0, 3)
    assert not final.s.any()
    assert case.run(recurrent)[0].shape == case.run(parallel).shape == out.shape
