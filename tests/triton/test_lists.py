"""Walks over lists of granules: attention over sets of key blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.call import Call, Inputs
from attnlang.backends.listed import Listed, listed
from attnlang.backends.triton import amounts, attend, lists
from attnlang.backends.triton.form import Form
from attnlang.backends.triton.lists import _lists, _of_members
from tests.backends.calls import AttentionCall
from tests.program.test_listed_sets import CASES
from tests.program.test_sets import GRIDS, LINES, Case, pattern
from tests.triton.test_attention import DEVICE, check

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
def walks_lists(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    seen: list[bool] = []
    form_of = attend.form_of

    def watched(*args: Any, **how: Any) -> Form:
        made = form_of(*args, **how)
        seen.append(made.tiles.listed == "chosen")
        return made

    monkeypatch.setattr(attend, "form_of", watched)
    return seen


@pytest.mark.parametrize("case", FAST, ids=lambda c: c.where)
def test_equal_to_the_reference(
    case: Case, walks_lists: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_pays", lambda *_: True)
    compare(case, 0.3, 1)
    assert walks_lists
    assert all(walks_lists)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_empty_and_whole_sets(density: float, walks_lists: list[bool]) -> None:
    compare(FAST[0], density, 2)
    assert walks_lists
    assert all(walks_lists)


def test_few_queries_share_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "FEWEST_KEYS", 8)
    monkeypatch.setattr(amounts, "IDLE", 64)
    compare(next(c for c in LINES if c.q_offset), 0.6, 1)


def test_heads_that_share_a_set_stand_together(launched: list[Any]) -> None:
    """Of single queries: a program has one for all heads that share its keys."""
    compare(LINES[1], 0.3, 1)
    grids = {name: grid for name, _, grid in launched}
    assert grids["forward"][:2] == grids["query_gradient"][:2] == (37, 2)


def test_members_and_the_rows_that_have_them() -> None:
    chosen = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    chosen[1, 2] = chosen[0, :, 3] = False
    for found, table in zip(_of_members(listed(chosen), 7), (chosen, chosen.mT), strict=True):
        exact = _lists(table)
        assert torch.equal(found.offsets, exact.offsets)
        size = int(exact.offsets[-1])
        assert torch.equal(found.list[:size], exact.list[:size])


LISTED = [
    "one set, keys of one head", "sets of key heads", "decoding", "units of two keys",
    "keys for blocks", "nothing chosen", "sets of heads by key heads",
]  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_listed_members_need_no_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_PAIRS", 0)
    case = CASES[name]
    made = attnlang.parse(f"pattern p:\n{case.body}")
    (n_q, n_k), (heads, kv_heads) = case.sizes, case.heads
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1 + (n_q < n_k), h, n, 16, generator=generator).to(DEVICE).requires_grad_()
        for h, n in ((heads, n_q), (kv_heads, n_k), (kv_heads, n_k))
    )
    results = []
    for backend in ("reference", "triton"):
        if backend == "triton" and not case.table:
            monkeypatch.setattr(Listed, "table", None)
        out, lse = made.compile(backend)(q, k, v, q_offset=case.offset, return_lse=True)
        loss = (out * out.cos()).sum() + torch.where(lse.isinf(), 0.0, lse).square().sum()
        results.append((out, lse, *torch.autograd.grad(loss, (q, k, v))))
    for exact, found in zip(*results, strict=True):
        torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)


EDITS = {
    "slopes": "score s - 0.05 * float(1 + head) * (q.n - k.n)",
    "bias of pairs": "score s + bias[head, q.n - k.n]",
    "sink": "sink 0.5 * float(head)",
    "largest": "score s - 0.5 * row_max(s)",
    "sums": "score s * s normalise sum",
    "gain": "gain 0.5 + 0.1 * float(head)",
    "rule": "empty full",
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("unit", [1, 8])
def test_scores_over_sets(
    name: str, unit: int, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single queries and keys, and blocks of keys; heads of one set in one tile."""
    monkeypatch.setattr(lists, "_pays", lambda *_: True)
    n = 19
    units = -(-n // unit)
    clauses = EDITS[name].replace(" normalise", "\n        normalise")
    clauses += "" if "empty" in clauses else "\n        empty zero"
    text = f"""pattern p:
    over n
    input chosen: bool[batch, kv_heads, n, {units}]
    input bias: float[head, 19] optional
    attend where chosen[kv_head, q.n, k.n // {unit}] and causal(n)
        {clauses}
"""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, n, 16, generator=generator) for h in (4, 2, 2))
    inputs = {"chosen": torch.rand(1, 2, n, units, generator=generator) < 0.4}
    inputs["chosen"][:, :, 0] = False
    if "bias" in clauses:
        inputs["bias"] = torch.randn(4, 19, generator=generator)
    check(AttentionCall(text, {}, q, k, v, inputs))
    assert next(grid for kernel, _, grid in launched if kernel == "forward")[:2] == (n, 2)


def test_lists_of_single_keys_where_tiles_of_queries_are_full_or_members_few() -> None:
    def walks(heads: int, most: int | None, kv_heads: int = 1, n: int = 4096) -> bool:
        text = "pattern p:\n    over n\n    input chosen: bool[n, n]\n"
        text += "    attend where chosen[q.n, k.n] and causal(n) empty zero\n"
        problem = attnlang.parse(text).problem({"n": n}, heads, kv_heads=kv_heads)
        q, k = (torch.empty(1, h, n, 16) for h in (heads, kv_heads))
        chosen = torch.empty(1, n, n, dtype=torch.bool)
        inputs = Inputs(tables={"chosen": chosen})
        if most is not None:
            index = torch.empty(1, 1, n, most, dtype=torch.int32)
            inputs = Inputs(lists={"chosen": Listed(index, (n,), (n,), False)})
        return lists.prepared(Call(problem, q, k, k, inputs)) is not None

    assert walks(16, None)
    assert not walks(8, None)
    # Of 16 slots at half the speed, 8 rows are a quarter of what 128 full rows are.
    assert walks(8, 1024)
    assert not walks(8, 1025)
    assert not walks(8, 1024, kv_heads=8)
    assert walks(8, 2048, kv_heads=8, n=16384)  # a table would be large
