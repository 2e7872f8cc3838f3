"""What every kind of step costs, counted by hand at small sizes."""

from __future__ import annotations

import math
from typing import Any

import attnlang


def costs(text: str, n: int = 24, heads: int = 4, kv_heads: int = 2) -> dict[str, dict[str, Any]]:
    made = attnlang.parse(text).explain({"n": n}, heads, 8, kv_heads=kv_heads).to_dict()
    assert made["forward"] == sum(s["cost"]["operations"] for s in made["steps"])
    assert made["bytes"] == sum(s["cost"]["bytes"] for s in made["steps"])
    for step in made["steps"]:
        for kind, total in (("work", "operations"), ("traffic", "bytes")):
            parts = step["cost"][kind]
            assert sum(p["amount"] for p in parts) == step["cost"][total]
            for p in parts:  # the formula is the number
                factors = [int(f.split()[0]) for f in p["formula"].split(" * ")]
                assert math.prod(factors) == p["amount"]
    return {s["name"]: s["cost"] for s in made["steps"]}


def test_readouts_walk_an_attention_again() -> None:
    """4 heads of 8 features, 24 tokens, a window of 5: counted pair by pair."""
    found = costs(
        "pattern p:\n    over n\n    input marked: bool[batch, n]\n    a = attend where band(n, 5)\n"
        "    rest = row_sum(a, k.marked)\n    given = column_sum(a)\n    z = lse(a)\n"
        "    seen = count(a)\n    seen_by = column_count(a)\n    place = rank(k.seen_by)\n"
        "    b = attend where causal(n)\n"
        "        score s + q.rest + k.given + q.z + float(q.seen + k.place)\n"
        "    return a + b\n"
    )
    pairs = sum(1 for i in range(24) for j in range(24) if 0 <= i - j < 5)
    multiply_add, one_feature = 2, 1
    assert found["a"]["operations"] == 4 * pairs * multiply_add * (8 + 8)
    assert found["rest"]["operations"] == 4 * pairs * multiply_add * (8 + one_feature)
    forth_and_back = 2
    assert (
        found["given"]["operations"]
        == 4 * pairs * forth_and_back * multiply_add * (8 + one_feature)
    )  # fmt: skip
    assert found["z"]["operations"] == 0
    # Counts are those of one head, for all have the same, with queries and keys of one feature.
    assert found["seen"]["operations"] == pairs * multiply_add * (1 + 1)
    assert found["seen_by"]["operations"] == forth_and_back * pairs * multiply_add * (1 + 1)
    assert found["place"]["operations"] == 2 * 24 * math.ceil(math.log2(24))  # of each key head
    assert found["return"]["operations"] == 4 * 24 * 8
    q, k, number = 2 * 4 * 24 * 8, 2 * 2 * 24 * 8, 4 * 4 * 24
    assert found["a"]["bytes"] == q + k + k + q
    assert found["rest"]["bytes"] == q + k + 24 + number
    assert found["given"]["bytes"] == q + k + number
    assert found["z"]["bytes"] == number
    assert found["seen"]["bytes"] == number // 2  # one number for the heads that share keys
    assert found["place"]["bytes"] == number // 2 + number // 2
    assert found["return"]["bytes"] == 3 * q


def test_what_is_only_told_does_not_run() -> None:
    text = (
        "pattern p:\n    over n\n    a = attend where causal(n)\n    mass = column_sum(a)\n"
        "    attend where causal(n)\n        score s + k.mass\n"
    )
    found = costs(text)
    assert found["a"] == {"operations": 0, "bytes": 0, "at_most": False, "work": [], "traffic": []}
    assert found["mass"]["operations"] == 2 * 2 * (8 + 1) * 4 * (24 * 25 // 2)
    assert "none: numbers alone are read of it" in str(attnlang.parse(text).explain({"n": 24}))


def test_tensors_and_pools_count_what_they_touch() -> None:
    """Runs of 6 every 4 of 24 tokens: 5 whole ones, of 6 tokens each."""
    found = costs(
        "pattern p:\n    over n\n    input W: float[11, head_dim]\n"
        "    part c = windows(n, 6, stride=4)\n    part b = blocks(n, 10)\n"
        "    pool runs[c] = mean(k)\n    pool firsts[b] = first(k)\n    pool blocks[b] = max(k)\n"
        "    pool near[n] = mean(q) where 0 <= q.n - k.n < 3\n"
        "    wide = project(q, W)\n    soft = softmax(wide)\n    mixed = 2.0 * wide + soft - wide\n"
        "    other = mixed\n    size = total(other)\n    a = attend near, k, v where causal(n)\n"
        "        score s * q.size\n    x = attend q, runs, runs where true\n"
        "    y = attend q, firsts, blocks where true\n    return merge(x, y, a)\n"
    )
    heads, kv_heads, tokens = 4, 2, 24
    assert found["runs"]["operations"] == kv_heads * 8 * sum(6 for _ in range(0, 24 - 6 + 1, 4))
    assert found["firsts"]["operations"] == 0
    assert found["blocks"]["operations"] == kv_heads * 8 * 24
    assert found["near"]["operations"] == 2 * heads * 8 * tokens * tokens  # every pair is asked
    assert found["wide"]["operations"] == 2 * heads * tokens * 8 * 11
    assert found["soft"]["operations"] == 4 * heads * tokens * 11
    assert found["mixed"]["operations"] == 3 * heads * tokens * 11
    assert (found["other"]["operations"], found["other"]["bytes"]) == (0, 0)
    assert found["size"]["operations"] == heads * tokens * 11
    assert found["return"]["operations"] == 2 * 3 * heads * tokens * 8
    assert found["wide"]["bytes"] == 2 * heads * tokens * 8 + 4 * 11 * 8 + 2 * heads * tokens * 11
    assert found["runs"]["bytes"] == 2 * kv_heads * 8 * (24 + 5)


def test_what_a_selection_does_besides_scores() -> None:
    """Each query has 24 tokens in 3 blocks of 8; two query heads share a set."""
    found = costs(
        "pattern p:\n    over n\n    part b = blocks(n, 8)\n"
        "    select r[kv_head, n, b] from q, k where true\n        normalise softmax\n"
        "        gather max where k.n // 8 == q.b\n        mass 0.5\n"
        "    size = count(r)\n"
        "    attend where r[kv_head, q.n, k.n // 8] empty zero\n        score s / float(q.size)\n"
    )
    pairs = 4 * 24 * 24
    assert [p["of"] for p in found["r"]["work"]] == [
        "scores", "normalise softmax", "share sum", "gather max", "rule mass",
    ]  # fmt: skip
    assert found["r"]["operations"] == pairs * (2 * 8 + 3 + 1 + 1) + 2 * 24 * 3 * 2
    assert found["r"]["at_most"]
    assert found["r"]["bytes"] == 2 * 4 * 24 * 8 + 2 * 2 * 24 * 8 + 2 * 24 * 3
    assert found["size"]["operations"] == 2 * 24 * 3


def test_a_second_pass_for_the_largest_score() -> None:
    found = costs("pattern p:\n    over n\n    a = attend where causal(n)\n"
                  "        score row_max(s) - s\n    return a + a\n")  # fmt: skip
    assert found["a"]["operations"] == 2 * (8 + 8 + 8) * 4 * (24 * 25 // 2)
