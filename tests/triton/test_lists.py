"""Walks over lists of granules: attention over sets of key blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlang.backends.triton import amounts, attend
from attnlang.backends.triton.lists import _lists
from tests.program.test_sets import GRIDS, LINES, Case, pattern
from tests.triton.test_attention import DEVICE

FAST = [c for c in (*LINES, *GRIDS[1:]) if c.fast][::2]


def test_lists_hold_the_true_columns() -> None:
    chosen = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    chosen[1, 2] = False
    made = _lists(chosen)
    for row, columns in enumerate(chosen.flatten(0, 1).tolist()):
        found = made.list[int(made.offsets[row]) : int(made.offsets[row + 1])].tolist()
        assert found == [i for i, there in enumerate(columns) if there]


def compare(case: Case, density: float, batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    n_q, n_k = (torch.Size(s.values()).numel() for s in (case.q, case.k or case.q))
    shapes = ((4, n_q, 16), (2, n_k, 16), (2, n_k, 24))
    q, k, v = (torch.randn(batch, *s, generator=generator).to(DEVICE) for s in shapes)
    chosen = (torch.rand(batch, *case.shape, generator=generator) < density).to(DEVICE)
    sizes = {f"q.{n}": s for n, s in case.q.items()}
    sizes |= {f"k.{n}": s for n, s in (case.k or case.q).items()}
    results = []
    for backend, dtype in (("reference", torch.float64), ("triton", torch.float32)):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        op = pattern(case).compile(backend)
        out, lse = op(*leaves, sizes, chosen=chosen, q_offset=case.q_offset, return_lse=True)
        loss = (out * torch.linspace(-1, 1, out.numel(), device=DEVICE).view_as(out)).sum()
        loss = loss + torch.where(lse.isinf(), 0.0, lse).square().sum()
        results.append((out, lse, *torch.autograd.grad(loss, leaves)))
    for exact, found in zip(*results, strict=True):
        assert torch.equal(exact.isinf(), found.isinf())
        torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=1e-5)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    seen: list[bool] = []
    form_of = attend.form_of

    def watched(*args: object, **how: bool) -> object:
        seen.append(how["listed"])
        return form_of(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(attend, "form_of", watched)
    return seen


@pytest.mark.parametrize("case", FAST, ids=lambda c: c.where)
def test_equal_to_the_reference(case: Case, listed: list[bool]) -> None:
    compare(case, 0.3, 1)
    assert listed
    assert all(listed)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_empty_and_whole_sets(density: float, listed: list[bool]) -> None:
    compare(FAST[0], density, 2)
    assert listed
    assert all(listed)


def test_few_queries_share_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "FEWEST_KEYS", 8)
    monkeypatch.setattr(amounts, "IDLE", 64)
    compare(next(c for c in LINES if c.q_offset), 0.6, 1)


def test_heads_that_share_a_set_stand_together(launched: list[Any]) -> None:
    """Of single queries: a program has one for all heads that share its keys."""
    compare(LINES[1], 0.3, 1)
    grids = {name: grid for name, _, grid in launched}
    assert grids["forward"][:2] == grids["query_gradient"][:2] == (37, 2)
