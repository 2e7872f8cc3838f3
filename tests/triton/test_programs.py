"""Programs whose attentions read what they have chosen, on kernels: outputs and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.triton import attend
from attnlang.backends.triton.form import Form
from tests.triton.test_attention import DEVICE

PROGRAMS: dict[str, dict[str, int]] = {
    "nsa": {"block": 8, "topk": 2, "window": 6},
    "moba": {"block": 8, "topk": 2},
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_outputs_and_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[object] = []
    form_of = attend.form_of

    def watched(*args: Any, **how: Any) -> Form:
        made = form_of(*args, **how)
        listed.append(made.tiles.listed)
        return made

    monkeypatch.setattr(attend, "form_of", watched)
    pattern = attnlang.load(f"stdlib:{name}", **PROGRAMS[name])
    torch.manual_seed(0)
    n = 37
    made = [torch.randn(1, h, n, 16, device=DEVICE) for h in (4, 2, 2)]
    inputs = {"gate": torch.rand(1, 4, n, 3, device=DEVICE)} if "gate" in pattern.inputs else {}
    results: list[tuple[Any, ...]] = []
    for backend in ("reference", "triton"):
        leaves = [x.clone().requires_grad_() for x in made]
        out = pattern.compile(backend)(*leaves, **inputs)
        weights = torch.linspace(-1, 1, out.numel(), device=DEVICE).view_as(out)
        results.append((out, *torch.autograd.grad((out * weights).sum(), leaves)))
    # Both backends choose the same blocks: choosing is torch's, whatever attends.
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    assert any(listed)


@pytest.mark.parametrize("n", [6, 7])
def test_steps_read_lengths_of_the_whole_program(n: int) -> None:
    """Agents are keys of one step and queries of the other; tokens are counted in both."""
    torch.manual_seed(0)
    pattern = attnlang.load("stdlib:agent_attention_sd", agents=3, k_shortcut=0.5)
    leaves = [torch.randn(1, 2, m, 16, device=DEVICE).requires_grad_() for m in (n, n, n, 3)]
    results: list[tuple[Any, ...]] = []
    for backend in ("reference", "triton"):
        q, k, v, agent = leaves
        out = pattern.compile(backend)(q, k, v, agent=agent)
        grads = torch.autograd.grad(out.square().sum(), leaves, materialize_grads=True)
        results.append((out, *grads))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
