"""The op in traced graphs: torch.compile without a break, torch.export, opcheck."""

from __future__ import annotations

import io

import pytest
import torch

import attnlang
from attnlang.traced import attend, program_of


def tensors(n: int, *, learned: bool = True) -> list[torch.Tensor]:
    torch.manual_seed(n)
    return [torch.randn(1, h, n, 8, requires_grad=learned) for h in (4, 2, 2)]


@pytest.mark.parametrize("name", ["sliding_window", "softcap"])
def test_compile_without_a_break(name: str) -> None:
    op = attnlang.compile(f"stdlib:{name}")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=True)
    def layer(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = op(q * 2.0, k, v)
        assert isinstance(out, torch.Tensor)
        return out.sin()

    for n in (24, 40, 41):
        given = tensors(n)
        eager = op(given[0] * 2.0, *given[1:])
        assert isinstance(eager, torch.Tensor)
        expected = torch.autograd.grad(eager.sin().sum(), given)
        found = layer(*given)
        torch.testing.assert_close(found, eager.sin())
        grads = torch.autograd.grad(found.sum(), given)
        torch.testing.assert_close(grads, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_learned_inputs_have_gradients() -> None:
    op = attnlang.compile("stdlib:sink_logit")
    torch._dynamo.reset()
    given, sink = tensors(20), torch.randn(4, requires_grad=True)

    def loss(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        out, lse = op(q, k, v, return_lse=True, sink=s)
        return (out * out).sum() + lse.sum()

    expected = torch.autograd.grad(loss(*given, sink), [*given, sink])
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*given, sink), [*given, sink])
    torch.testing.assert_close(found, expected)


def test_export_and_load() -> None:
    op = attnlang.compile("stdlib:sliding_window", window=7)
    given = tuple(tensors(32, learned=False))
    length = torch.export.Dim("length", min=2, max=4096)
    shapes = {"q": {2: length}, "k": {2: length}, "v": {2: length}}

    class Layer(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            out = op(q, k, v)
            assert isinstance(out, torch.Tensor)
            return out

    program = torch.export.export(Layer(), given, dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    longer = tuple(tensors(50, learned=False))
    torch.testing.assert_close(again(*longer), op(*longer))


@pytest.mark.parametrize("learned", [False, True])
def test_opcheck(learned: bool) -> None:
    pattern = attnlang.load("stdlib:sink_logit")
    sink = torch.randn(4, requires_grad=learned)
    program = program_of(pattern, "auto")
    call = (*tensors(16, learned=learned), [sink], "sink;", program, [], None, 0)
    torch.library.opcheck(attend, call)
