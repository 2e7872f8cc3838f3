"""Patterns that choose their keys: attention over the chosen sets in kernels, forward and backward."""

from __future__ import annotations

import pytest
import torch

import attnlang
from tests.stdlib.routing import cases, token_cases
from tests.stdlib.routing.cases import Case
from tests.stdlib.routing.oracle import Call

CASES = [*cases.CASES, *token_cases.CASES]
ORACLES = {**cases.ORACLES, **token_cases.ORACLES}
CLAIMED = [n for n in sorted(ORACLES) if "triton" in attnlang.stdlib.info(n).backends]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def some(name: str) -> Case:
    """A case of a few blocks whose keys are not all chosen."""
    mine = [c for c in CASES if c.name == name and not c.ties and c.n_q is None]
    return min(mine, key=lambda c: abs(c.call.k.shape[2] - 24))


@pytest.mark.parametrize("name", CLAIMED)
def test_outputs_and_gradients(name: str) -> None:
    case = some(name)
    exact = [x.clone().requires_grad_() for x in (case.call.q, case.call.k, case.call.v)]
    call = Call(*exact, case.call.sizes, case.call.params, case.call.inputs)
    with torch.no_grad():
        sets = ORACLES[name].select(call)
    expected = ORACLES[name].attend(call, sets)
    leaves = [x.detach().float().to(DEVICE).requires_grad_() for x in exact]
    inputs = {
        n: (x.float() if x.is_floating_point() else x).to(DEVICE) for n, x in call.inputs.items()
    }
    found = case.pattern.compile("triton")(*leaves, case.given, **inputs)
    torch.testing.assert_close(found.cpu().double(), expected, atol=1e-5, rtol=0)
    slopes = torch.autograd.grad(expected.square().sum(), exact)
    for a, b in zip(slopes, torch.autograd.grad(found.square().sum(), leaves), strict=True):
        torch.testing.assert_close(b.cpu().double(), a, atol=5e-5, rtol=0)
