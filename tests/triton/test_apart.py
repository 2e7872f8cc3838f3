"""Heads that fold in ways of their own: launches of their own, each over its own layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.triton import attend
from tests.backends.calls import AttentionCall
from tests.layout.test_head_boxes import APART
from tests.triton.test_attention import check

EVERY_OTHER = (
    "pattern p:\n    over y, x\n    input bias: float[head]\n"
    "    attend where (same(y) if head % 2 == 0 else same(x))\n        score s + bias[head]\n"
)
PACKED = (
    "pattern p:\n    over n\n    input doc: int[n] sorted\n"
    "    let step = 1 if head < 2 else 3\n"
    "    attend where q.doc == k.doc and q.n % step == k.n % step and abs(q.n - k.n) <= 7\n"
)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[range, int]]:
    """The heads of every launch, and how many query tiles there are."""
    seen: list[tuple[range, int]] = []
    made = attend.Launch

    def watched(call: Any, tables: Any, kernels: Any, group: Any, heads: range, scale: Any) -> Any:
        seen.append((heads, 0 if tables is None else tables.by_query.rows))
        return made(call, tables, kernels, group, heads, scale)

    monkeypatch.setattr(attend, "Launch", watched)
    return seen


def tensors(text: str, sizes: dict[str, int], kv_heads: int) -> list[torch.Tensor]:
    problem = attnlang.parse(text).problem(sizes, 4, kv_heads=kv_heads)
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, h, n, 16, generator=generator)
        for h, n in ((4, problem.q_len), (kv_heads, problem.k_len), (kv_heads, problem.k_len))
    ]


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize(("text", "sizes"), APART)
def test_each_layout_is_launched_for_its_heads(
    text: str, sizes: dict[str, int], kv_heads: int, launches: list[tuple[range, int]]
) -> None:
    check(AttentionCall(text, sizes, *tensors(text, sizes, kv_heads), {}))
    assert len({rows for _, rows in launches}) > 1 or len(sizes) > 1
    assert sorted(h for heads, _ in launches for h in heads) == sorted(
        [0, 1, 2, 3] * (len(launches) and sum(len(x) for x, _ in launches) // 4)
    )


def test_heads_by_turns(launches: list[tuple[range, int]]) -> None:
    sizes = {"y": 6, "x": 10}
    bias = torch.tensor([0.5, -1.0, 2.0, 0.25])
    check(AttentionCall(EVERY_OTHER, sizes, *tensors(EVERY_OTHER, sizes, 2), {"bias": bias}))
    assert {heads for heads, _ in launches} == {range(h, h + 1) for h in range(4)}


def test_tensors_that_decide_which_pairs_attend() -> None:
    sizes = {"n": 70}
    doc = torch.arange(70) // 25
    check(AttentionCall(PACKED, sizes, *tensors(PACKED, sizes, 4), {"doc": doc}))
