"""Attention over sets of key blocks: block by block, and equal to the reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.backends.blocked import attend as blocked
from attnlang.backends.blocked.sets import set_read
from attnlang.backends.call import Call


@dataclass(frozen=True)
class Case:
    """shape: of the set, without the batch. sizes: of the queries and keys."""

    where: str
    dims: str
    shape: tuple[int, ...]
    q: dict[str, int]
    k: dict[str, int] = field(default_factory=dict)
    over: str = "n"
    q_offset: int = 0
    fast: bool = True


LINES = [
    Case("chosen[head, q.n, k.n // 8] and causal(n)", "head, n, 5", (4, 37, 5), {"n": 37}),
    Case("chosen[kv_head, q.n, k.n // 8] and causal(n)", "kv_heads, n, 5", (2, 37, 5), {"n": 37}),
    Case("chosen[q.n, k.n // 8]", "n, 5", (37, 5), {"n": 37}),
    Case("chosen[head, q.n // 16, k.n // 8] and causal(n)", "head, 3, 5", (4, 3, 5), {"n": 37}),
    Case("chosen[head, q.n // 16, k.n]", "head, 3, n", (4, 3, 37), {"n": 37}),
    Case("chosen[head, q.n, k.n] and causal(n)", "head, n, len(n)", (4, 37, 37), {"n": 37}),
    Case("chosen[head, k.n // 8]", "head, 5", (4, 5), {"n": 37}),
    Case("chosen[head, q.n, k.n // 8]", "head, n, 3", (4, 37, 3), {"n": 37}),  # reads outside
    Case("chosen[k.n // 8, q.n] and k.n < 30", "5, n", (5, 37), {"n": 37}),
    Case("chosen[head, q.n // 4, k.n // 8] and causal(n)", "head, 10, 5", (4, 10, 5),
         {"n": 7}, {"n": 40}, q_offset=33),
    Case("chosen[head, q.n, k.n // 8] or causal(n)", "head, n, 5", (4, 37, 5), {"n": 37}, fast=False),
    Case("chosen[head, q.n, k.n * 2] and causal(n)", "head, n, 5", (4, 37, 5), {"n": 37}, fast=False),
]  # fmt: skip
GRIDS = [
    Case("chosen[head, q.y // 4, q.x // 3, k.y // 4, k.x // 3]", "head, 3, 3, 3, 3", (4, 3, 3, 3, 3),
         {"y": 9, "x": 7}, over="y, x"),
    Case("chosen[head, q.y // 4, q.x, k.x // 3] and within(y, 2)", "head, 3, x, 3", (4, 3, 7, 3),
         {"y": 9, "x": 7}, over="y, x"),
]  # fmt: skip


def pattern(case: Case) -> attnlang.Pattern:
    text = (
        f"pattern p:\n    over {case.over}\n    input chosen: bool[batch, {case.dims}]\n"
        f"    attend where {case.where} empty zero\n"
    )
    return attnlang.parse(text)


def tensors(case: Case, batch: int, heads: int, kv_heads: int) -> tuple[torch.Tensor, ...]:
    n_q, n_k = (torch.Size(s.values()).numel() for s in (case.q, case.k or case.q))
    shapes = ((heads, n_q, 8), (kv_heads, n_k, 8), (kv_heads, n_k, 6))
    return tuple(torch.randn(batch, *s, dtype=torch.float64, requires_grad=True) for s in shapes)


@pytest.mark.parametrize("case", [*LINES, *GRIDS], ids=lambda c: c.where)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_equal_to_the_reference(case: Case, density: float) -> None:
    torch.manual_seed(0)
    leaves = tensors(case, 2, 4, 2)
    chosen = torch.rand(2, *case.shape) < density
    sizes = {f"q.{n}": s for n, s in case.q.items()}
    sizes |= {f"k.{n}": s for n, s in (case.k or case.q).items()}
    results = []
    for backend in ("reference", "blocked"):
        op = pattern(case).compile(backend)
        out, lse = op(*leaves, sizes, chosen=chosen, q_offset=case.q_offset, return_lse=True)
        finite = torch.where(lse.isinf(), 0.0, lse)
        loss = (out * torch.arange(6, dtype=torch.float64).cos()).sum() + finite.square().sum()
        results.append((out, lse, *torch.autograd.grad(loss, leaves)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [*LINES, *GRIDS], ids=lambda c: c.where)
def test_which_conditions_are_read_as_sets(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []

    def spy(call: Call) -> object:
        found = set_read(call)
        calls.append(found is not None)
        return found

    monkeypatch.setattr(blocked, "set_read", spy)
    sizes = {f"q.{n}": s for n, s in case.q.items()}
    sizes |= {f"k.{n}": s for n, s in (case.k or case.q).items()}
    chosen = torch.ones(1, *case.shape, dtype=torch.bool)
    q, k, v = tensors(case, 1, 4, 2)
    pattern(case).compile("blocked")(q, k, v, sizes, chosen=chosen, q_offset=case.q_offset)
    assert calls == [case.fast]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_blocks_and_lengths(data: st.DataObject) -> None:
    n, block, granule = (data.draw(st.integers(1, m)) for m in (70, 20, 20))
    heads, share = data.draw(st.sampled_from([(1, 1), (2, 2), (6, 3)]))
    case = Case(
        f"chosen[kv_head, q.n // {granule}, k.n // {block}] and k.n <= q.n",
        f"kv_heads, {-(-n // granule)}, {-(-n // block)}",
        (heads // share, -(-n // granule), -(-n // block)),
        {"n": n},
    )
    torch.manual_seed(data.draw(st.integers(0, 99)))
    leaves = tensors(case, 2, heads, heads // share)
    chosen = torch.rand(2, *case.shape) < 0.5
    a, b = (pattern(case).compile(x)(*leaves, chosen=chosen) for x in ("reference", "blocked"))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    grads = [torch.autograd.grad(x.square().sum(), leaves) for x in (a, b)]
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_half_precision_sums_in_single() -> None:
    torch.manual_seed(0)
    case = LINES[0]
    leaves = [x.detach() for x in tensors(case, 1, 4, 2)]
    chosen = torch.rand(1, *case.shape) < 0.5
    exact = pattern(case).compile("reference")(*leaves, chosen=chosen)
    half = pattern(case).compile("blocked")(*(x.bfloat16() for x in leaves), chosen=chosen)
    assert half.dtype is torch.bfloat16
    assert float((half.double() - exact).abs().max()) < 0.03
