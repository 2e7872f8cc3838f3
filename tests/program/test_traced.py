"""Programs in traced graphs: torch.compile without a break, torch.export, opcheck."""

from __future__ import annotations

import io

import pytest
import torch

import attnlang
from attnlang.backends.arguments import ArgumentError
from attnlang.traced import attend, program_of

ROUTED = """
pattern routed(block: int = 4, topk: int = 2):
    over n
    input gate: float[batch, head, n]
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    select chosen[kv_head, n, b] from q, kb where (k.b + 1) * block <= q.n
        top topk
        force k.b == q.n // block
    far = attend where chosen[kv_head, q.n, k.n // block] and causal(n) empty zero
    near = attend where band(n, 3)
    return q.gate * far + near
"""
DECAYED = """
pattern decayed:
    over n
    input gate: float[batch, head, n] nonpositive
    attend linear where causal(n)
        decay k.gate
"""
SUMS = """
pattern sums:
    over n
    input gate: float[batch, head, n]
    first = attend where causal(n)
    mass = column_sum(first)
    select heavy[head, n] from k where true
        score k.mass
        top 5
    far = attend where causal(n) and (q.n == k.n or heavy[head, k.n]) empty zero
    return q.gate * far
"""


def tensors(n: int, *, learned: bool = True) -> list[torch.Tensor]:
    """q, k, v and an input that is never above 0."""
    torch.manual_seed(n)
    made = [torch.randn(1, h, n, 8) for h in (4, 2, 2)]
    return [x.requires_grad_(learned) for x in (*made, -torch.rand(1, 4, n))]


@pytest.mark.parametrize("text", [ROUTED, DECAYED, SUMS])
def test_compile_without_a_break(text: str) -> None:
    op = attnlang.parse(text).compile()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=True)
    def layer(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor
    ) -> torch.Tensor:
        out = op(q * 2.0, k, v, gate=gate)
        assert isinstance(out, torch.Tensor)
        return out.sin()

    for n in (24, 40, 41):
        given = tensors(n)
        eager = op(given[0] * 2.0, *given[1:3], gate=given[3])
        expected = torch.autograd.grad(eager.sin().sum(), given)
        found = layer(*given)
        torch.testing.assert_close(found, eager.sin())
        torch.testing.assert_close(torch.autograd.grad(found.sum(), given), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_export_and_load() -> None:
    op = attnlang.parse(ROUTED).compile()
    given = tuple(tensors(32, learned=False))
    length = torch.export.Dim("length", min=2, max=4096)
    shapes = {"q": {2: length}, "k": {2: length}, "v": {2: length}, "gate": {2: length}}

    class Layer(torch.nn.Module):
        def forward(
            self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gate: torch.Tensor
        ) -> torch.Tensor:
            out = op(q, k, v, gate=gate)
            assert isinstance(out, torch.Tensor)
            return out

    program = torch.export.export(Layer(), given, dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    longer = tensors(50, learned=False)
    torch.testing.assert_close(again(*longer), op(*longer[:3], gate=longer[3]))


@pytest.mark.parametrize("text", [ROUTED, DECAYED])
@pytest.mark.parametrize("learned", [False, True])
def test_opcheck(text: str, learned: bool) -> None:
    program = program_of(attnlang.parse(text), "auto")
    q, k, v, gate = tensors(16, learned=learned)
    torch.library.opcheck(attend, (q, k, v, [gate], "gate;", program, [], None, 0))


def test_what_a_graph_cannot_hold_breaks_it() -> None:
    """States are Python objects, and the sum of two softmaxes has no lse: both run eagerly."""
    torch._dynamo.reset()
    q, k, v, gate = tensors(16, learned=False)
    op = attnlang.parse(DECAYED).compile()
    layer = torch.compile(lambda: op(q, k, v, gate=gate, return_state=True), backend="eager")
    torch.testing.assert_close(layer()[0], op(q, k, v, gate=gate))
    routed = attnlang.parse(ROUTED).compile()
    with pytest.raises(ArgumentError, match="not one softmax"):
        torch.compile(lambda: routed(q, k, v, gate=gate, return_lse=True), backend="eager")()
