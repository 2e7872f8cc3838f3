"""Reports on programs, with numbers worked out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

import attnlang
from attnlang.explain import Explanation, explain
from tests.program.library import fitting, programs

ROUTED = """
pattern routed(block: int = 64, topk: int = 2):
    over n
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    select chosen[kv_head, n, b] from q, kb where (k.b + 1) * block <= q.n
        top topk
        force k.b == q.n // block
        share sum
    attend where chosen[kv_head, q.n, k.n // block] and causal(n) empty zero
"""
GATED = """
pattern gated(window: int = 16, block: int = 64):
    over n
    input gate: float[batch, head, n]
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    pool vb[b] = mean(v)
    coarse = attend q, kb, vb where (k.b + 1) * block <= q.n empty zero
    near = attend where band(n, window)
    return q.gate * coarse + near
"""
DECAYED = """
pattern decayed:
    over n
    attend linear where causal(n)
        decay -exp2(-8.0 * float(head + 1) / float(heads))
"""
DELTA = """
pattern delta:
    over n
    input doc: int[batch, n] sorted
    input a: float[batch, n, head] nonpositive
    input beta: float[batch, n, head]
    keys = normalize(k)
    attend linear q, keys, v where causal(n) and q.doc == k.doc
        decay k.a
        delta k.beta
"""


def explained(text: str, n: int = 256, heads: int = 8, **params: Any) -> Explanation:
    pattern = attnlang.parse(text)
    return pattern.with_params(**params).explain({"n": n}, heads, 32)


def steps(text: str, n: int = 256, heads: int = 8, **params: Any) -> dict[str, dict[str, Any]]:
    data = explained(text, n, heads, **params).to_dict()
    assert data == json.loads(json.dumps(data))
    return {s["name"]: s for s in data["steps"]}


def test_a_selection_is_counted_by_its_rule() -> None:
    """256 tokens in 4 blocks of 64. A query of block b has b candidates, and is forced to its own."""
    found = steps(ROUTED)
    assert found["kb"]["tokens"] == [256, 4]
    chosen = found["chosen"]
    assert (chosen["rule"], chosen["per"], chosen["of"]) == ("top 2", ["kv_head", "n"], 4)
    assert chosen["choices"] == 8 * 256
    assert chosen["candidates"]["total"] == 8 * 64 * (0 + 1 + 2 + 3)
    assert chosen["forward"] == 2 * 32 * chosen["candidates"]["total"]
    # The forced block is one of the two, so the first 64 queries have one and the others two.
    assert chosen["members"] == {
        "total": 8 * 64 * (1 + 2 + 2 + 2), "mean": 1.75, "most": 2, "sample": None,
    }  # fmt: skip
    attended = found["attended"]
    own_block = 64 * 65 // 2
    assert attended["by_rule"]["total"] == 8 * (4 * own_block + 3 * 64 * 64)
    assert attended["by_rule"]["most"] == 128
    assert attended["sets"] == ["chosen"]
    assert attended["report"]["pairs"]["at_most"] == 8 * 256 * 257 // 2
    assert attended["report"]["facts"]["rows_nonempty"]["holds"]
    assert attended["report"]["facts"]["causal"]["holds"]


@pytest.mark.parametrize(("topk", "block"), [(1, 16), (2, 16), (3, 20), (40, 8)])
def test_as_many_attend_as_the_rule_says(topk: int, block: int) -> None:
    """`force` and `top` always choose as many as there are, so the bound is the count."""
    n = 100
    pattern = attnlang.parse(ROUTED).with_params(topk=topk, block=block)
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, h, n, 8) for h in (4, 2, 2))
    chosen = pattern.compile().select(q, k, v)["chosen"]
    attends = pattern.steps["attended"].mask({"n": n}, 4, kv_heads=2, chosen=chosen)
    found = explain(pattern, {"n": n}, 4, 8, kv_heads=2).to_dict()
    attended = next(s for s in found["steps"] if s["name"] == "attended")
    assert int(attends.sum()) == attended["by_rule"]["total"]


def test_plain_attentions_are_counted() -> None:
    found = steps(GATED)
    coarse, near = (found[n]["report"]["pairs"]["count"] for n in ("coarse", "near"))
    assert coarse == 8 * 64 * (0 + 1 + 2 + 3)
    assert near == 8 * (16 * 256 - 16 * 15 // 2)
    data = explained(GATED).to_dict()
    pools, sums = 2 * 256 * 8 * 32, 2 * 256 * 8 * 32
    assert data["forward"] == 4 * 32 * (coarse + near) + pools + sums
    assert data["dense_forward"] == 4 * 32 * 8 * 256 * 256
    assert data["data_dependent"] == []  # gates weigh what attends, and decide nothing
    # 15 tokens of the window; of the means, those of the three blocks that are ever seen.
    assert data["cache"] == {"kb": 3, "k": 15}
    assert data["state"] == 0


def test_linear_attention_has_a_state_and_horizons() -> None:
    """Head h of 8 decays by exp(-2^-(h + 1)) a token: below 2^-24 after 24 ln 2 * 2^(h + 1) tokens."""
    found = steps(DECAYED)["attended"]
    assert (found["decay"], found["delta"], found["causal"]) == ("constant", False, True)
    assert found["horizons"] == [
        {"heads": [h], "tokens": math.floor(24 * math.log(2) * 2 ** (h + 1)) + 1} for h in range(8)
    ]
    assert found["state"] == 4 * 32 * 32
    assert found["forward"] == 8 * 256 * 2 * (2 * 32 * 32)  # one write and one read a token
    data = explained(DECAYED).to_dict()
    assert data["state"] == 8 * 4 * 32 * 32
    assert data["cache"] == {}
    assert data["data_dependent"] == []


def test_features_of_a_polynomial_widen_the_state() -> None:
    """1, x and the products of two of 32 features; `normalise sum` keeps the sum of the weights."""
    text = DECAYED.replace("decay -exp2", "normalise sum\n        score 1.0 + s + s * s / 2.0\n"
                                          "        decay -exp2")  # fmt: skip
    assert steps(text)["attended"]["state"] == 4 * (1 + 32 + 32 * 33 // 2) * (32 + 1)


def test_what_depends_on_the_call() -> None:
    data = explained(DELTA).to_dict()
    assert sorted(data["data_dependent"]) == ["a", "beta", "doc"]
    found = steps(DELTA)["attended"]
    assert (found["decay"], found["delta"]) == ("token", True)
    assert found["horizons"] == []
    assert found["forward"] == 8 * 256 * 3 * (2 * 32 * 32)  # the delta rule reads once more
    assert explained(ROUTED).to_dict()["data_dependent"] == ["chosen"]


@pytest.mark.parametrize("rule", ["above 0.1", "mass 0.5"])
def test_other_rules_are_bounded_by_the_candidates(rule: str) -> None:
    found = steps(ROUTED.replace("top topk", rule))
    assert found["chosen"]["members"]["total"] == 8 * 64 * (1 + 2 + 3 + 4)
    assert found["attended"]["by_rule"]["total"] == 8 * 256 * 257 // 2


def test_products_with_a_table_cost() -> None:
    text = """
pattern relative:
    over n
    input E: float[head, 9, head_dim]
    attend where band(n, 9)
        score s + dot(q, E[head, k.n - q.n + 8])
"""
    data = explained(text).to_dict()
    pairs = 8 * (9 * 256 - 9 * 8 // 2)
    assert data["steps"][0]["products"] == 2 * 32 * 9 * 8 * 256
    assert data["forward"] == 4 * 32 * pairs + 2 * 32 * 9 * 8 * 256


def test_a_step_by_its_name() -> None:
    """What means something within its program alone is told as part of it, the rest in full."""
    p = attnlang.parse(ROUTED)
    for name in ("chosen", "attended"):
        data = p.steps[name].explain({"n": 256}, 8, 32).to_dict()
        assert data["pattern"] == f"routed.{name}"
        assert [s["name"] for s in data["steps"]] == [name]
        assert data["data_dependent"] == ["chosen"]
    assert attnlang.parse(DECAYED).steps["attended"].explain({"n": 256}).to_dict()["state"] > 0
    near = attnlang.parse(GATED).steps["near"].explain({"n": 256}, 8, 32).to_dict()
    assert near["schema"] == "attnlang.explain/1"
    assert near["formula"]["pairs"] == "16*N - 120"


def test_text() -> None:
    text = str(explained(ROUTED))
    assert text.startswith("routed(block=64, topk=2) at n=256, 8 heads of 32\n")
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "kb: mean of k over b",
        "chosen: selection of kb for q",
        "rule              top 2 per kv_head, n: 2,048 choices",
        "chosen            at most 2 of 4 for a query, 1.75 on average",
        "attended: attention of q to k",
        "in all",
        "data-dependent    chosen",
        "kv cache          at most 3 tokens of kb, 255 tokens of k",
    ):
        assert line in lines
    assert "state             4.10 kB for each of 8 heads, at any length" in str(explained(DECAYED))
    for made in (ROUTED, GATED, DECAYED, DELTA):
        assert max(map(len, str(explained(made)).splitlines())) <= 100


@pytest.mark.parametrize("name", programs())
def test_library_programs(name: str) -> None:
    """Every program of the library has a report, at a size that it accepts."""
    pattern = attnlang.load(f"stdlib:{name}")
    sizes, (heads, kv_heads, head_dim) = fitting(pattern)
    found = pattern.explain(sizes, heads, head_dim, kv_heads=kv_heads).to_dict()
    missing = set(pattern.steps) - {s["name"] for s in found["steps"]}
    assert all(f"`{n}` has no tokens or heads at this size" in found["notes"] for n in missing)
    assert found["forward"] is None or found["forward"] > 0


def test_softmax_over_the_past_keeps_two_sums() -> None:
    text = (
        "pattern p:\n    over n\n    x = total(k * k)\n    attend linear where causal(n)\n"
        "        score k.x\n        normalise softmax\n"
    )
    found = steps(text)["attended"]
    assert found["decay"] == "softmax"
    assert found["state"] == 4 * (32 + 1)  # of the values, and of the weights alone
    assert found["reads"] == ["x"]
    assert "a softmax over the past" in str(explained(text))


def nonempty(name: str, sizes: dict[str, int], step: str = "attended", **params: Any) -> Any:
    found = attnlang.load(f"stdlib:{name}", **params).explain(sizes, 4, 64).to_dict()
    attended = next(s for s in found["steps"] if s["name"] == step)
    return attended["report"]["facts"]["rows_nonempty"]["holds"]


@pytest.mark.parametrize(
    ("name", "size", "params", "proved"),
    [
        ("moba", 131072, {}, True),  # the own block is forced
        ("infllm_v2", 131072, {}, True),
        ("hip_attention", 8192, {}, True),  # the window
        ("hip_attention", 8192, {"window": 0}, None),
        ("dsa", 131072, {}, True),  # one of the past, which the query itself is in
        ("sparsifiner", 197, {}, True),  # the class token all, the others one at least
        ("sparsifiner", 197, {"keep": 0.0}, None),
        ("seer_attention", 4096, {}, None),  # a threshold may leave nothing
        ("uoe_smha", 512, {}, None),  # tokens that are on no list
    ],
)
def test_rows_that_a_selection_cannot_empty(
    name: str, size: int, params: dict[str, Any], proved: bool | None
) -> None:
    assert nonempty(name, {"n": size}, **params) is proved


@pytest.mark.parametrize("rule", ["top 2", "top 0", "mass 0.5", "above 0.1"])
@pytest.mark.parametrize("candidates", ["k.b <= q.n // 8", "(k.b + 1) * 8 <= q.n", "k.b == 1"])
@pytest.mark.parametrize("force", ["", "k.b == q.n // 8", "k.b == 0"])
@pytest.mark.parametrize("rest", ["causal(n)", "k.n % 8 != 0", "band(n, 9)", "true"])
def test_what_is_proved_is_so(rule: str, candidates: str, force: str, rest: str) -> None:
    forced = f"        force {force}\n" if force else ""
    pattern = attnlang.parse(
        "pattern p:\n    over n\n    part b = blocks(n, 8)\n    pool kb[b] = mean(k)\n"
        f"    select r[head, n, b] from q, kb where {candidates}\n        normalise softmax\n{forced}"
        f"        {rule}\n    attend where r[head, q.n, k.n // 8] and {rest} empty zero\n"
    )
    n = 36
    found = pattern.explain({"n": n}, 2, 8).to_dict()
    attended = next(s for s in found["steps"] if s["name"] == "attended")
    proved = attended["report"]["facts"]["rows_nonempty"]["holds"]
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, n, 8) for _ in range(3))
    chosen = pattern.compile("reference").select(q, k, v)["r"]
    attends = pattern.steps["attended"].mask({"n": n}, 2, r=chosen)
    if proved:
        assert bool(attends.any(-1).all())
    if rest == "causal(n)" and (force == "k.b == 0" or force == "k.b == q.n // 8"):
        assert proved  # the first block, or the own: keys up to the query
    if rest == "true" and candidates != "(k.b + 1) * 8 <= q.n" and rule in ("top 2", "mass 0.5"):
        assert proved


def test_halving_asks_few() -> None:
    """131072 keys in units of 2: 65536 of them, halved 8 times to 256; 512 halves in each round."""
    found = attnlang.load("stdlib:hip_attention").explain({"n": 131072}, 2, 64).to_dict()
    chosen = next(s for s in found["steps"] if s["name"] == "found")
    assert (chosen["asked"], chosen["of"]) == (8 * 512, 65536)
    # Two keys of a unit, every second query of 32, 4096 blocks of queries and 2 heads.
    assert chosen["forward"] == 2 * 64 * (2 * 16) * 8 * 512 * 4096 * 2
    short = attnlang.load("stdlib:hip_attention", mask_k=512).explain({"n": 512}, 2, 64).to_dict()
    assert next(s for s in short["steps"] if s["name"] == "found")["asked"] == 0


def test_halving_to_a_number_that_the_data_decide_may_ask_all() -> None:
    found = attnlang.parse(
        "pattern p():\n    over n\n"
        "    select a[n, n] from q, k where k.n <= q.n\n        above 0.5\n"
        "    select r[n, n] from q, k where k.n <= q.n\n        search halving\n        top count(a)\n"
        "    attend where r[q.n, k.n] empty zero\n"
    ).explain({"n": 64})
    steps = found.to_dict()["steps"]
    assert next(s for s in steps if s["name"] == "r")["asked"] == 64


def test_what_the_scores_decide_has_two_bounds() -> None:
    found = attnlang.load("stdlib:seer_attention", block=4, dense=0).explain({"n": 32}, 2, 64)
    likely = next(s for s in found.to_dict()["steps"] if s["step"] == "select")
    assert (likely["least"], likely["members"]["mean"]) == (0.0, 4.5)
    found = attnlang.load("stdlib:vmoba", alone="own").explain({"t": 2, "y": 16, "x": 16}, 2, 64)
    boxes = next(s for s in found.to_dict()["steps"] if s["step"] == "select")
    assert boxes["least"] == 1.0 + 1 / 512  # every query its own box, and each head one more


def test_queries_that_are_chosen_bound_the_pairs() -> None:
    """The last 16 of 64 queries have the most keys."""
    found = attnlang.load("stdlib:zoology_selective", by="learned", topk=16)
    routed = next(
        s for s in found.explain({"n": 64}, 2, 8).to_dict()["steps"] if s["name"] == "routed"
    )
    assert routed["by_rule"]["total"] == 2 * sum(range(49, 65))
    assert found.explain({"n": 64}, 2, 8).to_dict()["cache"] == {"k": 63}


def test_weights_are_told_where_they_are_read() -> None:
    for routing, told in (("soft", "scores"), ("hard", None)):
        found = attnlang.load("stdlib:biformer_bra", routing=routing)
        steps = found.explain({"y": 14, "x": 14}, 2, 8).to_dict()["steps"]
        assert next(s for s in steps if s["step"] == "select")["gradient"] == told
