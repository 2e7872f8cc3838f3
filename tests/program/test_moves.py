"""Members of sets brought together and put back, by hand."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import AttnlangError

BODY = """pattern p(slots: int = 4):
    over n
    part c = range(3)
    part m = range(slots)
    input centre: float[{heads}c, 4]
    select chosen[{set}n, c] from k, centre where k.c < 2 or q.n < 2
        above {above}
    pool taken[c, m] = take(k, chosen)
    pool back[n] = put(taken, chosen)
    return {result}
"""


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("heads", "by"), [("head, ", "head, "), ("", "")])
@pytest.mark.parametrize("slots", [1, 4, 20])
def test_members_come_in_order_and_go_back(heads: str, by: str, slots: int) -> None:
    """As many as there are slots; what is in two lists comes back twice."""
    torch.manual_seed(0)
    text = BODY.format(heads=heads, set=by, above=0.0, result="back")
    op = attnlang.parse(text, slots=slots).compile("reference")
    q, k, v = drawn(2, 3, 9, 4), drawn(2, 3, 9, 4), drawn(2, 3, 9, 4)
    centre = torch.randn(*((3,) if heads else ()), 3, 4, dtype=torch.float64)
    chosen = op.select(q, k, v, centre=centre)["chosen"]
    chosen = chosen if heads else chosen[:, None].expand(2, 3, 9, 3)
    expected = torch.zeros(2, 3, 9, 4, dtype=torch.float64)
    for b in range(2):
        for h in range(3):
            for c in range(3):
                for i in chosen[b, h, :, c].nonzero().flatten().tolist()[:slots]:
                    expected[b, h, i] += k[b, h, i]
    found = op(q, k, v, centre=centre)
    torch.testing.assert_close(found, expected)
    times = expected.detach()[..., :1] / k.detach()[..., :1]
    (slope,) = torch.autograd.grad(found.sum(), k)
    torch.testing.assert_close(slope, times.expand_as(k))


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_attention_between_slots(backend: str) -> None:
    """What is not there is 0, and so are its key and its value."""
    text = """pattern p:
    over n
    part c = range(2)
    part m = range(3)
    input gate: float[batch, n]
    select even[n, c] from k, centre where k.c == q.n % 2
        top 9 per c
    pool keys[c, m] = take(k, even)
    pool values[c, m] = take(v, even)
    attend q, keys, values where k.c == q.n % 2
""".replace("gate: float[batch, n]", "centre: float[c, 4]")
    torch.manual_seed(0)
    q, k, v = drawn(1, 2, 5, 4), drawn(1, 2, 5, 4), drawn(1, 2, 5, 4)
    op = attnlang.parse(text).compile(backend)
    found = op(q, k, v, centre=torch.zeros(2, 4, dtype=torch.float64))
    for parity in (0, 1):
        keys, values = (torch.zeros(1, 2, 3, 4, dtype=torch.float64) for _ in range(2))
        own = k[:, :, parity::2]
        keys[:, :, : own.shape[2]], values[:, :, : own.shape[2]] = own, v[:, :, parity::2]
        expected = torch.softmax(q[:, :, parity::2] @ keys.mT / 2.0, -1) @ values
        torch.testing.assert_close(found[:, :, parity::2], expected)


@pytest.mark.parametrize(
    "line",
    [
        "pool taken[c, m] = take(k, v)",
        "pool taken[m, c] = take(k, chosen)",
        "pool taken[c, b] = take(k, chosen)",
        "pool taken[c, m] = take(q, chosen)",
        "pool taken[c, m] = take(k)",
    ],
)
def test_slots_that_do_not_fit_are_refused(line: str) -> None:
    text = BODY.format(heads="", set="", above=0.0, result="q")
    text = text.replace("pool taken[c, m] = take(k, chosen)", f"part b = blocks(n, 2)\n    {line}")
    with pytest.raises(AttnlangError, match="AL312"):
        attnlang.parse(text)
