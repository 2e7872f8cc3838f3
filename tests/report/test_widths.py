"""Features of a program's tensors, and what follows from them: work, states, caches."""

from __future__ import annotations

import attnlang
from attnlang.compiler.problem.program import bind_program
from attnlang.compiler.report.steps.widths import heads_of, widths

TENSORS = """pattern p:
    over n
    part c = range(5)
    input E: float[head, c, 7]
    input W: float[11, head_dim]
    input big: float[batch, 6, n, 3]
    half = slice(k, 0, head_dim // 2)
    pair = concat(k, half)
    wide = project(q, W)
    scaled = 2.0 * wide if q.n > 3 else wide
    size = total(q)
    joined = join_heads(q)
    back = split_heads(joined)
    pool few[c] = first(k)
    places = one_hot(few)
    turned = channels(k)
    asking = channels(q)
    mixed = attend asking, turned, turned where true
    again = tokens(mixed)
    learned = attend q, few, E where true
    seen = attend q, few, places where true
    select near[n, n] from big, big where true
        top 2
    summed = attend linear pair, pair, half where causal(n)
    local = attend where near[q.n, k.n] empty zero
    a = total(pair)
    b = total(scaled) + total(back) + total(learned) + total(seen)
    c2 = total(summed)
    return again * q.size + local + 0.0 * (a + b + c2)
"""


def test_every_tensor_has_its_features() -> None:
    made = bind_program(attnlang.parse(TENSORS).ir, {"n": 9}, heads=4, kv_heads=2, head_dim=8)
    found = widths(made)
    expected = {
        "half": 4, "pair": 12, "wide": 11, "scaled": 11, "size": 1, "joined": 32, "back": 8,
        "few": 8, "places": 5, "E": 7, "big": 3, "learned": 7, "seen": 5, "summed": 4, "local": 8,
        "turned": 9, "mixed": 9, "again": 8,
    }  # fmt: skip
    assert {n: found[n] for n in expected} == expected
    assert (heads_of("q", made), heads_of("k", made), heads_of("big", made)) == (4, 2, 6)


def test_work_counts_features_as_they_are() -> None:
    """An indexer's own heads, keys wider than values, states of pairs of features."""
    n, heads = 256, 4
    past = n * (n + 1) // 2
    dsa = attnlang.load("stdlib:dsa", topk=8, index_heads=3, index_dim=16)
    index = dsa.explain({"n": n}, heads=heads).to_dict()["steps"][0]
    assert index["forward"] == 2 * 16 * 3 * past
    mla = attnlang.load("stdlib:mla", latent=32, rope=8)
    found = mla.explain({"n": n}, heads=heads, kv_heads=1, head_dim=40).to_dict()
    normed = 3 * 32 * n  # square, sum and division of the latent
    assert found["forward"] == 2 * (40 + 32) * heads * past + normed
    cos = attnlang.load("stdlib:cosformer").explain({"n": n}, heads=heads, head_dim=8).to_dict()
    assert cos["state"] == 4 * heads * 16 * (8 + 1)


def test_learned_keys_are_no_cache() -> None:
    text = (
        "pattern p:\n    over n\n    part c = range(5)\n    input E: float[head, c, head_dim]\n"
        "    near = attend where causal(n)\n"
        "    learned = attend q, E, E where true\n    return near + learned\n"
    )
    found = attnlang.parse(text).explain({"n": 64}, heads=2).to_dict()
    assert list(found["cache"]) == ["k"]


def test_joint_keys_of_which_some_are_not_there() -> None:
    """No whole window of 16 in 9 tokens: the tokens themselves are attended all the same."""
    text = (
        "pattern p:\n    over n\n    part c = windows(n, 16, stride=16)\n    pool kc[c] = mean(k)\n"
        "    pool vc[c] = mean(v)\n    attend q, (kc, k), (vc, v) where k in kc or causal(n)\n"
    )
    found = attnlang.parse(text).explain({"n": 9}, heads=2).to_dict()
    assert found["notes"] == []
    assert found["steps"][-1]["report"]["pairs"]["count"] == 2 * 45
