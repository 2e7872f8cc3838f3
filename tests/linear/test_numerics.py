"""Precision, decays that forget everything, memory, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnlang.backends.linear import State, chunkwise, horizon, parallel, recurrent, step
from tests.linear.cases import DECAYS, Case, close, draw, gradients

KINDS = [(d, delta) for d in DECAYS for delta in (False, True)]
each_kind = pytest.mark.parametrize(("decay", "delta"), KINDS)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).detach().square().mean().sqrt())


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_errors_are_those_of_the_loop_at_most_doubled(
    decay: str, delta: bool, dtype: torch.dtype
) -> None:
    """Against float64 from the same rounded tensors; the loop accumulates in float32 too."""
    rounded = draw(
        decay, delta=delta, length=150, width=16, value_width=24, strength=0.2, dtype=dtype
    )
    exact, ours, loop = (
        rounded.map(f).learned() for f in (torch.Tensor.double, lambda x: x, lambda x: x)
    )
    truth, state = exact.run(recurrent)
    slopes = gradients(exact, truth, state)
    found, final = ours.run()
    looped, looped_state = loop.run(recurrent)
    assert found.dtype == dtype
    assert final.s.dtype == torch.float32
    grads = gradients(ours, found, final)
    assert all(g.dtype == dtype for g in grads)
    wanted = (truth, state.s, *slopes)
    theirs = (looped, looped_state.s, *gradients(loop, looped, looped_state))
    for t, a, b in zip(wanted, (found, final.s, *grads), theirs, strict=True):
        assert distance(a, t) <= 2 * distance(b, t) + 1e-6 * float(t.detach().abs().max())


@each_kind
@pytest.mark.parametrize("strength", [30.0, 3000.0, math.inf])
def test_decays_that_forget_everything(decay: str, delta: bool, strength: float) -> None:
    """Nothing overflows, and neighbours are as exact as ever: no difference of large sums."""
    case = draw(decay, delta=delta, dtype=torch.float32).map(torch.Tensor.clone)
    if "decay" in case.options:
        where = torch.rand(case.options["decay"].shape, generator=torch.Generator().manual_seed(3))
        strong = torch.where(where < 0.4, -strength, case.options["decay"])
        case.options["decay"] = strong if decay != "constant" else torch.tensor([-strength, -0.5])
    exact, ours = case.map(torch.Tensor.double).learned(), case.learned()
    truth, state = exact.run(recurrent)
    found, final = ours.run(chunk=32)
    torch.testing.assert_close(found.double(), truth, atol=3e-6, rtol=3e-6)
    wanted = gradients(exact, truth, state)
    for a, b in zip(gradients(ours, found, final), wanted, strict=True):
        torch.testing.assert_close(a.double(), b, atol=2e-5, rtol=1e-5)


def test_keys_after_the_query_never_overflow() -> None:
    """e^(b_i - b_j) with j after i is beyond float32: it must be masked before."""
    case = draw("token", length=64, dtype=torch.float32)
    case.options["decay"] = torch.full((2, 2, 64), -50.0)
    for form in (recurrent, chunkwise):
        ours = case.learned()
        out, final = ours.run(form)
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in gradients(ours, out, final))


def test_gradients_that_nobody_wants() -> None:
    case = draw("token", delta=True).learned()
    out, _ = case.run()
    (grad,) = torch.autograd.grad(out.sum(), case.v)
    case = Case(
        case.q.detach(), case.k, case.v, {**case.options, "decay": case.options["decay"].detach()}
    )
    out, _ = case.run()
    close(torch.autograd.grad(out.sum(), case.v)[0], grad)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("delta", [False, True])
def test_memory_is_linear(decay: str, delta: bool) -> None:
    """What the graph keeps: arguments, and a state for every part."""

    def kept(length: int) -> int:
        case = draw(decay, delta=delta, length=length, width=16, value_width=16).learned()
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            results = case.run()
        assert results[0].requires_grad
        return sum(sizes.values())

    short, long = kept(2048), kept(8192)
    assert long < 4.2 * short


@pytest.mark.parametrize("bits", [8, 24])
@pytest.mark.parametrize("decay", [-0.5, -0.03, -7.0, -math.inf])
def test_horizon(decay: float, bits: int) -> None:
    n = horizon(decay, bits)
    assert math.exp(decay * n) < 2.0**-bits
    assert n == 1 or math.exp(decay * (n - 1)) >= 2.0**-bits


@pytest.mark.parametrize("decay", [0.0, 0.1, math.nan])
def test_no_horizon(decay: float) -> None:
    with pytest.raises(ValueError, match="no horizon"):
        horizon(decay)


def options(**changes: Any) -> dict[str, Any]:
    q, k, v = torch.randn(2, 4, 9, 5), torch.randn(2, 2, 9, 5), torch.randn(2, 2, 9, 3)
    return {"q": q, "k": k, "v": v, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": torch.randn(2, 2, 9, 4)}, "k is"),
        ({"v": torch.randn(2, 2, 8, 3)}, "v is"),
        ({"v": torch.randn(2, 9, 3)}, "v is"),
        ({"k": torch.randn(2, 3, 9, 5)}, "cannot share"),
        ({"decay": torch.zeros(3)}, "cannot share"),
        ({"decay": torch.tensor(0.0)}, "decay is"),
        ({"decay": torch.zeros(2, 4, 8)}, "decay is"),
        ({"decay": torch.zeros(2, 4, 9, 3)}, "decay is"),
        ({"beta": torch.zeros(2, 9)}, "beta is"),
        ({"segments": torch.zeros(9, dtype=torch.long)}, "segments are"),
        ({"initial": State(torch.zeros(2, 2, 5, 3))}, "the initial state is"),
        ({"initial": State(torch.zeros(2, 4, 5, 3)), "normalise": "sum"}, "no z"),
        ({"causal": False, "decay": torch.zeros(2, 4, 9)}, "causal=False"),
        ({"causal": False, "beta": torch.zeros(2, 4, 9)}, "causal=False"),
        ({"causal": False, "initial": State(torch.zeros(2, 4, 5, 3))}, "causal=False"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    forms: list[Any] = [chunkwise, recurrent]
    if "initial" not in changes:
        forms.append(parallel)
    for form in forms:
        with pytest.raises(ValueError, match=words):
            form(**options(**changes))


def test_a_step_takes_one_token() -> None:
    with pytest.raises(ValueError, match="one token"):
        step(state=None, **options())
