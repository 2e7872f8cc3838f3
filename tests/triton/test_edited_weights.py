"""Weights that are edited after the softmax, by sums of them, on the kernels."""

from __future__ import annotations

import pytest
import torch

from tests.oracles.edits import ORACLES
from tests.stdlib.cases_of_edits import EDITS
from tests.triton.test_attention import DEVICE


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_outputs_and_gradients(name: str) -> None:
    case = next(c for c in EDITS if c.name == name)
    call = case.call
    arrays = {"q": call.q, "k": call.k, "v": call.v, **call.inputs}
    found = []
    for backend, dtype in (("reference", torch.float64), ("triton", torch.float32)):
        given = {n: torch.tensor(x, device=DEVICE) for n, x in arrays.items()}
        given |= {
            n: x.to(dtype).requires_grad_() for n, x in given.items() if x.is_floating_point()
        }
        learned = [x for x in given.values() if x.requires_grad]
        q, k, v = (given.pop(n) for n in "qkv")
        out = case.pattern.compile(backend)(q, k, v, case.sizes, **given)
        slopes = torch.autograd.grad(out.square().sum(), learned, allow_unused=True)
        found.append([out, *(x for x in slopes if x is not None)])
    for exact, near in zip(*found, strict=True):
        torch.testing.assert_close(near.double(), exact.detach(), atol=2e-5, rtol=1e-5)
