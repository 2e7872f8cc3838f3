"""Attentions made of others: outputs and gradients against their definitions as loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import attnlang
from tests.oracles.composed import Call, Floats
from tests.stdlib.composed_cases import CASES, ORACLES, Case

BACKENDS = ("reference", "blocked")
NAMES = sorted(ORACLES)


def drawn(case: Case, call: Call) -> dict[str, Floats]:
    """Every array of floating-point numbers, by name."""
    arrays = {"q": call.q, "k": call.k, "v": call.v, **call.inputs}
    return {n: x for n, x in arrays.items() if np.issubdtype(x.dtype, np.floating)}


def moved(call: Call, step: float, ways: dict[str, Floats]) -> Call:
    """The call with its arrays a step along a direction."""
    at: dict[str, Any] = {"q": call.q, "k": call.k, "v": call.v, **call.inputs}
    at |= {n: at[n] + step * way for n, way in ways.items()}
    inputs = {n: at[n] for n in call.inputs}
    return replace(call, q=at["q"], k=at["k"], v=at["v"], inputs=inputs)


def test_every_pattern_is_compared() -> None:
    assert {case.name for case in CASES} == set(ORACLES)
    assert set(ORACLES) <= set(attnlang.stdlib.names())


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_takes_every_parameter(name: str) -> None:
    """Nothing of a pattern is left out of the comparison."""
    varied = {p for case in CASES if case.name == name for p in case.params}
    assert varied == set(attnlang.load(f"stdlib:{name}").params)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients(case: Case, backend: str) -> None:
    call, oracle = case.call, ORACLES[case.name]
    learned = {n: torch.tensor(x, requires_grad=True) for n, x in drawn(case, call).items()}
    rest = {n: torch.tensor(x) for n, x in call.inputs.items() if n not in learned}
    q, k, v = (learned[n] for n in "qkv")
    given = {n: x for n, x in learned.items() if n not in "qkv"}
    out = case.pattern.compile(backend)(q, k, v, case.sizes, **given, **rest)
    np.testing.assert_allclose(out.detach().numpy(), oracle(call), atol=1e-11)

    # The slope along one random direction, by the oracle's values on both sides.
    rng = np.random.default_rng(0)
    d_out = rng.standard_normal(out.shape)
    ways = {n: rng.standard_normal(x.shape) for n, x in learned.items()}
    out.backward(torch.from_numpy(d_out))
    found = sum(
        float((x.grad.numpy() * ways[n]).sum()) for n, x in learned.items() if x.grad is not None
    )
    ahead, behind = (oracle(moved(call, step, ways)) for step in (1e-5, -1e-5))
    assert found == pytest.approx(((ahead - behind) * d_out).sum() / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_near(name: str) -> None:
    case = next(c for c in CASES if c.name == name)
    call = case.call
    inputs = {n: torch.tensor(x) for n, x in call.inputs.items()}
    inputs = {n: x.float() if x.is_floating_point() else x for n, x in inputs.items()}
    q, k, v = (torch.tensor(x).float() for x in (call.q, call.k, call.v))
    for backend in BACKENDS:
        out = case.pattern.compile(backend)(q, k, v, case.sizes, **inputs)
        assert out.dtype == torch.float32
        np.testing.assert_allclose(out.double().numpy(), ORACLES[name](call), atol=5e-5)
