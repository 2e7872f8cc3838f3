"""Searches by halving score what they ask; what they choose is what all scores would give."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.program import fill, probe

PATTERN = """
pattern p:
    over n
    part a = blocks(n, {rows})
    part u = blocks(n, {unit})
    select r[{head}{row}, {column}] from q, k where {where}
        scale 0.5
        {gather}
        {gather_rows}
        {share}
        top {amount}
        search {search}
    attend where causal(n)
        score s if r[{head_read}{row_read}, {column_read}] else -s
"""


def chosen(pattern: attnlang.Pattern, q: Any, k: Any, monkeypatch: Any, asks: bool) -> torch.Tensor:
    """asks: does the search ask for scores itself?"""
    made: list[object] = []

    def probes(*arguments: Any) -> Any:
        found = probe.probes(*arguments) if asks else None
        made.append(found)
        return found

    monkeypatch.setattr(fill, "probes", probes)
    found = pattern.compile("reference").select(q, k, k)["r"]
    assert [x is not None for x in made] == [asks]
    return found


@pytest.mark.parametrize(
    ("where", "head", "share"),
    [
        ("k.n <= q.n", "head", ""),
        ("k.n < (q.n // 5 + 1) * 5 and k.n // 3 * 3 < q.n // 5 * 5 - 4", "head", ""),
        ("true", "kv_head", "share sum"),
        ("k.n <= q.n and k.n >= q.n - 30", "kv_head", "share max"),
        ("k.n >= 7", "", "share mean"),
    ],
)
@pytest.mark.parametrize("gather", ["max", "mean", ""])
@pytest.mark.parametrize("gather_rows", ["max", "sum", ""])
@pytest.mark.parametrize("amount", [1, 3, 100])
@pytest.mark.parametrize("search", ["halving", "centres"])
def test_as_with_all_scores(
    where: str, head: str, share: str, gather: str, gather_rows: str, search: str, amount: int,
    monkeypatch: Any,
) -> None:  # fmt: skip
    """Small whole numbers, so that sums are exact and many scores are equal."""
    text = PATTERN.format(
        rows=5, unit=3, search=search, where=where, share=share, amount=amount,
        head=f"{head}, " if head else "", head_read=f"{head}, " if head else "",
        row="a" if gather_rows else "n", row_read="q.n // 5" if gather_rows else "q.n",
        column="u" if gather else "n", column_read="k.n // 3" if gather else "k.n",
        gather=f"gather {gather} where k.n // 3 == q.u" if gather else "",
        gather_rows=f"gather rows {gather_rows} where q.n // 5 == k.a and q.n % 5 % 2 == 1"
        if gather_rows else "",
    )  # fmt: skip
    pattern = attnlang.parse(text)
    generator = torch.Generator().manual_seed(amount)
    q = torch.randint(-2, 3, (2, 4, 63, 4), generator=generator).double()
    k = torch.randint(-2, 3, (2, 2, 63, 4), generator=generator).double()
    expected = chosen(pattern, q, k, monkeypatch, False)
    assert torch.equal(chosen(pattern, q, k, monkeypatch, True), expected)
    assert bool(expected.any())


@pytest.mark.parametrize(
    "lines",
    [
        "k.n % 3 != 1\n        top 4",  # no runs
        "k.n <= q.n and k.d == q.d\n        top 4",  # an input decides
        "k.n <= q.n\n        score s * s\n        top 4",
        "k.n <= q.n\n        force k.n == 0\n        top 4",
        "k.n <= q.n\n        normalise softmax\n        top 4",
    ],
)
def test_others_see_all_scores(lines: str, monkeypatch: Any) -> None:
    pattern = attnlang.parse(
        f"pattern p:\n    over n\n    input d: int[batch, n]\n    select r[head, n, n] from q, k where {lines}\n"
        "        search halving\n    attend where causal(n)\n        score s if r[head, q.n, k.n] else 0.0\n"
    )
    found: list[object] = []

    def probes(*arguments: Any) -> Any:
        found.append(probe.probes(*arguments))
        return found[-1]

    monkeypatch.setattr(fill, "probes", probes)
    q = torch.randn(1, 2, 20, 4)
    d = {"d": torch.zeros(1, 20, dtype=torch.int64)} if "k.d" in lines else {}
    made = pattern.compile("reference").select(q, q, q, **d)["r"]
    assert found == [None]
    assert bool((made.sum(-1) <= 5).all())


def test_no_table_is_as_large_as_the_scores(monkeypatch: Any) -> None:
    """Of 3072 keys a row asks for some hundred; nothing of queries times keys is made."""
    pattern = attnlang.load("stdlib:hip_attention", mask_k=16, window=64)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    n = 3072
    monkeypatch.setattr(probe, "PROBE_BYTES", 1 << 20)
    q = torch.randn(1, 1, n, 8)
    with Watch():
        found = pattern.compile("reference").select(q, q, q)["found"]
    assert largest < 4 * n * n // 2
    rows, units = n // 32, n // 2
    assert found.shape == (1, 1, rows, units)
    for a in itertools.chain(range(4), range(rows - 4, rows)):
        candidates = max(-(-((a + 1) * 32 - 64) // 2), 0)
        assert int(found[0, 0, a].sum()) == min(8, candidates)
