"""Few queries against a long cache: walks that several programs share, and their merge."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.triton import amounts
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import DEVICE, check

BODIES = {
    "causal": "attend where causal(n)",
    "window and sinks": "attend where causal(n) and (band(n, 70) or k.n < 5)",
    "dilated": "attend where causal(n) and (q.n - k.n) % 3 == 0",
    "by head": "attend where causal(n) and band(n, 90 * (1 + head))",
    "alibi": "attend where causal(n)\n        score s - 0.1 * (1 + head) * (q.n - k.n)",
    "sink": "attend where causal(n)\n        sink 0.3 * head",
    "few rows have keys": "attend where k.n < 40 * (q.n - 195)\n        empty full",
    "cap": "attend where causal(n)\n        softcap 1.5",
}


@pytest.fixture(autouse=True)
def short_walks_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "FEWEST_KEYS", 16)
    monkeypatch.setattr(amounts, "IDLE", 64)


def call_of(body: str, queries: int, keys: int, heads: int, kv_heads: int) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, queries, 16), (kv_heads, keys, 16), (kv_heads, keys, 24))
    q, k, v = (torch.randn(2, *s, generator=generator) for s in shapes)
    text = f"pattern p:\n    over n\n    {body}\n"
    return AttentionCall(text, {}, q, k, v, {}, keys - queries)


@pytest.mark.parametrize("name", BODIES)
def test_shared_walks_add_up(name: str, launched: list[Any]) -> None:
    check(call_of(BODIES[name], 5, 200, 6, 2))
    names = [x[0] for x in launched]
    assert names[:2] == ["split_forward", "merge"]
    assert launched[0][2][2] > 1


@pytest.mark.parametrize("queries", [1, 17])
def test_heads_that_share_keys_stand_together(queries: int, launched: list[Any]) -> None:
    check(call_of(BODIES["causal"], queries, 130, 6, 2))
    name, given, grid = launched[0]
    assert name == "split_forward"
    assert grid[0] == -(-3 * queries // given["ROWS"])
    assert grid[1] == 2 * 2


def test_heads_that_attend_unlike_keys_stand_apart(launched: list[Any]) -> None:
    check(call_of(BODIES["by head"], 1, 130, 6, 2))
    assert launched[0][2][1] == 2 * 6


def test_one_kernel_for_every_length(launched: list[Any]) -> None:
    op = attnlang.load("stdlib:sliding_window", window=300).compile("triton")
    for keys in (400, 555, 700):
        q, k = (torch.randn(1, 2, n, 16, device=DEVICE) for n in (1, keys))
        op(q, k, k, q_offset=keys - 1)
    calls = [given for name, given, _ in launched if name == "split_forward"]
    assert len(calls) == 3
    constants = [{n: x for n, x in given.items() if n.isupper()} for given in calls]
    assert constants[0] == constants[1] == constants[2]
    assert len({given["length_k"] for given in calls}) == 3


def test_long_walks_alone_are_shared(launched: list[Any]) -> None:
    check(call_of("attend where causal(n) and band(n, 5)", 2, 200, 2, 2))
    assert launched[0][0] == "forward"
