"""Patterns that choose their keys: first the chosen sets, then outputs and gradients."""

from __future__ import annotations

import pytest
import torch

import attnlang
from tests.stdlib.routing import cases, token_cases
from tests.stdlib.routing.cases import Case
from tests.stdlib.routing.oracle import Call, Oracle

NAMES = [n for n in attnlang.stdlib.names() if attnlang.stdlib.family(n) == "routing"]
CASES: list[Case] = [*cases.CASES, *token_cases.CASES]
ORACLES: dict[str, Oracle] = {**cases.ORACLES, **token_cases.ORACLES}
BACKENDS = ("reference", "blocked")


def arguments(case: Case, call: Call, dtype: torch.dtype) -> dict[str, object]:
    inputs = {n: x.to(dtype) if x.is_floating_point() else x for n, x in call.inputs.items()}
    return {"sizes": case.given, "q_offset": call.offset, **inputs}


def test_every_pattern_is_compared() -> None:
    assert {case.name for case in CASES} == set(NAMES) == set(ORACLES)


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_takes_every_parameter(name: str) -> None:
    """Nothing of a pattern is left out of the comparison."""
    varied = {p for case in CASES if case.name == name for p in case.params}
    assert varied == set(attnlang.load(f"stdlib:{name}").params)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sets(case: Case) -> None:
    call = case.call
    expected = ORACLES[case.name].select(call)
    op = case.pattern.compile("reference")
    found = op.select(call.q, call.k, call.v, **arguments(case, call, torch.float64))
    assert set(found) == set(expected)
    for name, drawn in expected.items():
        assert found[name].shape == drawn.shape
        assert torch.equal(found[name], drawn), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients(case: Case, backend: str) -> None:
    call = case.call
    leaves = [x.clone().requires_grad_() for x in (call.q, call.k, call.v)]
    learned = {
        n: x.clone().requires_grad_() for n, x in call.inputs.items() if x.is_floating_point()
    }
    call = Call(*leaves, call.sizes, call.params, {**call.inputs, **learned}, call.offset)
    oracle = ORACLES[case.name]
    with torch.no_grad():
        sets = oracle.select(call)
    expected = oracle.attend(call, sets)
    op = case.pattern.compile(backend)
    found = op(*leaves, **arguments(case, call, torch.float64))
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=0)
    every = [*leaves, *learned.values()]
    slopes = [
        torch.autograd.grad((x * x.cos()).sum(), every, allow_unused=True)
        for x in (expected, found)
    ]
    for x, a, b in zip(every, *slopes, strict=True):
        a, b = (torch.zeros_like(x) if g is None else g for g in (a, b))
        torch.testing.assert_close(b, a, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_near(name: str) -> None:
    case = next(c for c in CASES if c.name == name and not c.ties)
    call = case.call
    q, k, v = (x.float() for x in (call.q, call.k, call.v))
    expected = ORACLES[name].attend(call, ORACLES[name].select(call))
    for backend in BACKENDS:
        found = case.pattern.compile(backend)(q, k, v, **arguments(case, call, torch.float32))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)
