"""Sets as lists of their members: the same as tables, and no table is made of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import attnlang
from attnlang.backends.listed import Listed, listed, listed_within
from attnlang.backends.program import fill
from attnlang.stdlib import names
from tests.program.test_programs import parse, qkv
from tests.stdlib.routing import cases, token_cases
from tests.stdlib.routing.cases import Case
from tests.stdlib.routing.test_patterns import arguments


@dataclass(frozen=True)
class Sets:
    """body: of a pattern. sizes: queries and keys. table: does what reads the set need a table?"""

    body: str
    sizes: tuple[int, int] = (40, 40)
    heads: tuple[int, int] = (4, 2)
    offset: int = 0
    table: bool = False


def tokens(dims: str, read: str, more: str = "") -> str:
    return (
        f"    over n\n    select r[{dims}n, n] from q, k where causal(n)\n        top 5\n{more}"
        f"    attend where r[{read}q.n, k.n] and causal(n) empty zero\n"
    )


def blocks(size: int, granule: int = 1, rest: str = " and causal(n)") -> str:
    return (
        f"    over n\n    part b = blocks(n, {size})\n    part g = blocks(n, {granule})\n"
        "    pool kb[b] = mean(k)\n    pool qb[g] = mean(q)\n"
        f"    select r[kv_head, g, b] from qb, kb where k.b * {size} <= q.g * {granule}\n"
        f"        top 1\n        force k.b == q.g * {granule} // {size}\n"
        f"    attend where r[kv_head, q.n // {granule}, k.n // {size}]{rest} empty zero\n"
    )


GRID = """    over y, x
    part b = blocks(y, 2)
    part c = blocks(x, 3)
    pool kb[b, c] = mean(k)
    select r[head, y, x, b, c] from q, kb where true
        top 2
    attend where r[head, q.y, q.x, k.y // 2, k.x // 3] empty zero
"""
CASES = {
    "one set": Sets(tokens("", "")),
    "sets of heads": Sets(tokens("head, ", "head, ")),
    "sets of key heads": Sets(tokens("kv_head, ", "kv_head, "), heads=(6, 2)),
    "keys of one head": Sets(tokens("head, ", "head, "), heads=(4, 1)),
    "one set, keys of one head": Sets(tokens("", ""), heads=(4, 1)),
    "decoding": Sets(tokens("kv_head, ", "kv_head, "), (3, 40), offset=37),
    "forced": Sets(tokens("head, ", "head, ", "        force k.n % 9 == 0 and causal(n)\n")),
    "units of two keys": Sets(blocks(2)),
    "blocks": Sets(blocks(9)),
    "blocks for blocks": Sets(blocks(9, 4)),
    "keys for blocks": Sets(blocks(1, 7)),
    "no other condition": Sets(blocks(10, 1, "")),
    "blocks, one set for all heads": Sets(blocks(9, 4).replace("kv_head, ", "")),
    "grids": Sets(GRID, (8 * 9, 8 * 9)),
    "nothing chosen": Sets(tokens("head, ", "head, ").replace("causal(n)\n", "k.n < -q.n\n", 1)),
    "sets of heads by key heads": Sets(tokens("head, ", "kv_head, "), table=True),
    "more than a set": Sets(
        tokens("head, ", "head, ").replace("causal(n) empty", "causal(n) or k.n == 0 empty"),
        table=True,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("sliced", [False, True])
def test_equal_to_the_reference(name: str, sliced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    made = parse(case.body)
    n_q, n_k = case.sizes
    q, k, v = (
        torch.randn(2, h, n, 8, dtype=torch.float64, requires_grad=True)
        for h, n in ((case.heads[0], n_q), (case.heads[1], n_k), (case.heads[1], n_k))
    )
    sizes = {"y": 8, "x": 9} if "over y" in case.body else None
    rest = {"sizes": sizes, "q_offset": case.offset}
    expected = made.compile("reference")(q, k, v, return_lse=True, **rest)
    op = made.compile("blocked")
    sets = op.select(q, k, v, **rest)
    assert torch.equal(sets["r"], made.compile("reference").select(q, k, v, **rest)["r"])
    if sliced:
        monkeypatch.setattr(fill, "SLICE_BYTES", 3 * 8 * 2 * 4 * 40)
    if not case.table:
        monkeypatch.setattr(Listed, "table", None)
    found = op(q, k, v, return_lse=True, **rest)
    results = []
    for out, lse in (expected, found):
        finite = torch.where(lse.isinf(), 0.0, lse)
        loss = (out * out.cos()).sum() + finite.square().sum()
        results.append((out, lse, *torch.autograd.grad(loss, (q, k, v))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "case", [c for c in (*cases.CASES, *token_cases.CASES) if c.name in names()], ids=str
)
def test_slices_choose_what_all_at_once_do(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    call, op = case.call, case.pattern.compile("blocked")
    given = arguments(case, call, torch.float64)
    whole = op.select(call.q, call.k, call.v, **given)
    monkeypatch.setattr(fill, "SLICE_BYTES", 1)
    for name, sliced in op.select(call.q, call.k, call.v, **given).items():
        assert torch.equal(sliced, whole[name])


def test_members_in_order() -> None:
    """Ragged rows, the empty one among them, and the table that they come from."""
    torch.manual_seed(0)
    table = torch.rand(2, 3, 7, 11) < 0.3
    table[1, 2, 3] = False
    index = listed(table)
    assert index.dtype is torch.int32
    assert index.shape[3] == int(table.sum(-1).max())
    for row, kept in zip(index.flatten(0, 2), table.flatten(0, 2), strict=True):
        assert row[row >= 0].tolist() == kept.nonzero()[:, 0].tolist()
    assert torch.equal(listed_within(table, index.shape[3]), index)
    assert torch.equal(listed_within(table, 11)[..., : index.shape[3]], index)
    made = Listed(index, (7,), (11,), True)
    assert torch.equal(made.table(), table)
    assert torch.equal(made.counts(), table.sum(-1))


def test_counts_of_a_list_need_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    p = parse(
        "    over n\n    select r[head, n, n] from q, k where causal(n)\n        top 5\n"
        "    times = count(r)\n    a = attend where r[head, q.n, k.n] and causal(n) empty zero\n"
        "    return float(q.times) * a\n"
    )
    q, k, v = qkv(30, 30)
    expected = p.compile("reference")(q, k, v)
    monkeypatch.setattr(Listed, "table", None)
    torch.testing.assert_close(p.compile("blocked")(q, k, v), expected)


def test_a_set_in_a_number_beside_a_tensor() -> None:
    """Such a read makes the table; so does a later selection's condition."""
    p = parse(
        "    over n\n    select r[head, n, n] from q, k where causal(n)\n        top 5\n"
        "    select s[head, n, n] from q, k where r[head, q.n, k.n]\n        top 2\n"
        "    a = attend where s[head, q.n, k.n] empty zero\n"
        "    return a if r[head, q.n, 0] else -a\n"
    )
    q, k, v = qkv(30, 30)
    expected, found = (p.compile(x)(q, k, v) for x in ("reference", "blocked"))
    torch.testing.assert_close(found, expected)


def test_memory_is_that_of_the_lists() -> None:
    """No tensor of the forward or the backward pass has an entry for every pair of tokens."""
    n, largest = 2048, 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            for x in found if isinstance(found, tuple | list) else (found,):
                if isinstance(x, torch.Tensor):
                    largest = max(largest, x.untyped_storage().nbytes())
            return found

    op = attnlang.load("stdlib:dsa", topk=8, index_heads=2, index_dim=4).compile("blocked")
    q, k, v = (torch.randn(1, 1, n, 4, requires_grad=True) for _ in range(3))
    given = {
        "index_q": torch.randn(1, 2, n, 4),
        "index_k": torch.randn(1, n, 4),
        "weight": torch.rand(1, 2, n),
    }
    size = fill.SLICE_BYTES
    fill.SLICE_BYTES = 64 * n * 4
    try:
        with Watch():
            op(q, k, v, **given).sum().backward()
    finally:
        fill.SLICE_BYTES = size
    assert largest <= 64 * n * 8
