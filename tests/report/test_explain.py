"""What a report prints, and the data it gives."""

from __future__ import annotations

import html
import json
import time

import pytest

import attnlang

WINDOW = """\
sliding_window(window=16, sinks=0) at n=256, 4 heads of 64

  pairs             15,904 of 262,144 attend: density 6.07%
  keys per query    1 to 16, on average 15.5
  keys of a query   max(0, q.n - 15) <= k.n < min(len(n), q.n + 1)
"""


def test_text() -> None:
    text = str(attnlang.load("stdlib:sliding_window", window=16).explain({"n": 256}, 4, 64))
    assert text.startswith(WINDOW)
    lines = text.splitlines()
    assert 18 <= len(lines) <= 28
    assert max(map(len, lines)) <= 100
    labels = [line[2:20].strip() for line in lines[2:] if line.strip()]
    for label in ("forward", "backward", "speedup", "tiles", "layout", "waste", "memory", "causal",
                  "formula", "growth", "kv cache", "receptive field"):  # fmt: skip
        assert label in labels


def test_text_says_what_is_not_known() -> None:
    text = str(attnlang.load("stdlib:lca_causal_document").explain({"n": 64}))
    assert "at most 2,080 of 4,096 (50.8%)" in text
    assert "depends on `doc`" in text


def test_text_names_coordinates() -> None:
    made = attnlang.load("stdlib:neighborhood_2d", window=3).explain({"y": 4, "x": 5})
    assert "query (y 0, x 0) attends key (y 2, x 2)" in str(made)
    assert "in head" not in str(made)


def test_data() -> None:
    made = attnlang.load("stdlib:sliding_window", window=16).explain({"n": 256}, 4, 64)
    data = json.loads(json.dumps(made.to_dict()))
    assert data["schema"] == "attnlang.explain/1"
    assert data["params"] == {"window": 16, "sinks": 0}
    assert data["shape"]["sizes"] == {"n": 256}
    assert data["pairs"]["count"] == 15904
    assert data["facts"]["causal"] == {"holds": True, "counterexample": None}
    assert data["formula"]["pairs"] == "16*N - 120"
    assert data["cache"] == {"tokens": 15, "at": 256, "grows": False}
    assert set(data) == {
        "schema", "pattern", "params", "shape", "pairs", "tiles", "cost", "memory", "facts",
        "solutions", "formula", "growth", "cache", "reach", "notes",
    }  # fmt: skip


def test_notebook() -> None:
    made = attnlang.load("stdlib:causal").explain({"n": 8})
    text = html.unescape(made._repr_html_())
    assert text.startswith("<pre")
    assert str(made) in text


@pytest.mark.parametrize("name", ["sliding_window", "causal", "neighborhood_1d", "streaming_sink"])
def test_a_million_tokens_take_seconds(name: str) -> None:
    pattern = attnlang.load(f"stdlib:{name}")
    pattern.explain({"n": 4096})
    start = time.process_time()
    made = pattern.explain({"n": 1 << 20}, 32, 128).report
    # Two seconds on an idle machine; CPU time with room for a busy one.
    assert time.process_time() - start < 10
    assert made.pairs.count is not None
    assert made.growth is not None
