"""Binding a pattern to sizes: what does not fit is named, what fits is proved to be safe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attnlang
from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.problem.problem import Problem


def pattern(*lines: str, parameters: str = "", **params: object) -> attnlang.Pattern:
    body = "".join(f"    {line}\n" for line in ("over n", *lines))
    return attnlang.parse(f"pattern p{parameters}:\n{body}", **params)


def codes(p: attnlang.Pattern, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(attnlang.PatternError) as raised:
        p.problem(*args, **kwargs)
    return [d.code for d in raised.value.diagnostics]


def where(p: attnlang.Pattern, n: int = 8, **kwargs: Any) -> str:
    return to_text(p.problem({"n": n}, **kwargs).groups[0].attend.where)


CAUSAL = pattern("attend where k.n <= q.n")


# -- the examples of the catalogue ----------------------------------------------------------------


@pytest.mark.parametrize("code", ["AL404", "AL409", "AL410"])
def test_catalogue_examples(code: str) -> None:
    entry = CATALOGUE[code]
    params = dict(entry.call)
    assert set(codes(attnlang.parse(entry.wrong, **params), {"n": 16})) == {code}
    attnlang.parse(entry.right, **params).problem({"n": 16})


# -- requirements ---------------------------------------------------------------------------------


def test_a_requirement_that_fails_is_quoted_with_the_values() -> None:
    p = pattern(
        'require w <= len(n), "the window must fit"',
        "attend where 0 <= q.n - k.n < w",
        parameters="(w: int = 8)",
    )
    p.problem({"n": 8})
    with pytest.raises(attnlang.PatternError) as raised:
        p.problem({"n": 7})
    (found,) = raised.value.diagnostics
    assert found.code == "AL404"
    assert found.message == "pattern `p` requires `w <= len(n)`"
    assert found.primary is not None
    assert found.primary.text == "the window must fit"
    assert found.notes == ("with w = 8, len(n) = 7",)


def test_every_failing_requirement_is_reported() -> None:
    p = pattern("require len(n) > 8", "require heads > 4", "require true", "attend where true")
    assert codes(p, {"n": 8}, heads=4) == ["AL404", "AL404"]
    p.problem({"n": 9}, heads=5)


def test_requirements_read_lengths_of_both_sides_and_tables() -> None:
    p = pattern("require len(q.n) <= len(k.n)", "attend where k.n <= q.n")
    p.problem({"q.n": 2, "k.n": 3})
    assert codes(p, {"q.n": 3, "k.n": 2}) == ["AL404"]
    table = pattern(
        "require w[0] >= 1",
        "attend where q.n - k.n < w[head]",
        parameters="(w: int[head] = (0, 9))",
    )
    assert codes(table, {"n": 8}, heads=2) == ["AL404"]
    pattern(
        "require w[1] >= 1",
        "attend where q.n - k.n < w[head]",
        parameters="(w: int[head] = (0, 9))",
    ).problem({"n": 8}, heads=2)


def test_a_requirement_without_a_value_does_not_hold() -> None:
    p = pattern("require 8 // w > 0", "attend where true", parameters="(w: int = 0)")
    assert codes(p, {"n": 8}) == ["AL404"]


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        "q.n // (k.n - 3) == 0",
        "q.n % k.n == 0",
        "ceildiv(q.n, q.n - k.n) == 1",
        "q.n // w[head] == k.n",
        "(q.n if k.n > 2 else 1) // (k.n - 8) > 0 or q.n // (w[head] * 2) == 1",
    ],
)
def test_a_divisor_that_may_be_zero(condition: str) -> None:
    p = pattern(f"attend where {condition}", parameters="(w: int[head] = (2, 0))")
    assert "AL409" in codes(p, {"n": 9}, heads=2)


@pytest.mark.parametrize(
    "condition",
    [
        "q.n // (k.n + 1) == 0",
        "q.n % max(k.n, 1) == 0",
        "q.n // (k.n - 9) < 0",
        "q.n // min(k.n - 8, -1) < 0",
        "q.n // len(n) == 0",
        "q.n // (w[0] * 2) == 1",
        "q.n // (2 - k.n % 2) == 1",
    ],
)
def test_a_divisor_that_is_proved_not_to_be(condition: str) -> None:
    pattern(f"attend where {condition}", parameters="(w: int[head] = (2, 0))").problem(
        {"n": 9}, heads=2
    )


def test_a_divisor_depends_on_the_length() -> None:
    p = pattern("attend where q.n // (k.n - 8) < 1")
    p.problem({"n": 8})
    assert codes(p, {"n": 9}) == ["AL409"]


@pytest.mark.parametrize(
    "condition",
    [
        "q.n * w * w < k.n",
        "pow2(k.n) > q.n",  # 2 ** 70 is beyond 64 bits
        "k.doc * k.doc * k.doc == q.doc",
        "floor(k.weight) == 0",
        "floor(float(q.n) * log(float(k.n))) < 3",  # 0 times minus infinity is no number
        "round(log(0.0) - log(0.0)) == k.n",
        "int(1.0 / k.weight) < q.n",
        "q.n < 2147483647 * 2147483647 * 2147483647",
    ],
)
def test_an_integer_beyond_64_bits(condition: str) -> None:
    p = pattern(
        "input doc: int[batch, n]",
        "input weight: float[batch, n]",
        f"attend where {condition} empty zero",
        parameters="(w: int = 2147483647)",
    )
    assert set(codes(p, {"n": 71})) == {"AL410"}


@pytest.mark.parametrize(
    "condition",
    ["pow2(k.n) > q.n", "floor(clamp(k.weight, 0.0, 9.0)) == q.n", "k.doc * k.doc == q.doc"],
)
def test_integers_that_fit(condition: str) -> None:
    pattern(
        "input doc: int[batch, n]",
        "input weight: float[batch, n]",
        f"attend where {condition} empty zero",
    ).problem({"n": 61})


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 2**31, 8.0, "8", None, True, [8]])
def test_a_length_that_is_none(size: object) -> None:
    assert codes(CAUSAL, {"n": size}) == ["AL406"]


def test_whole_numbers_of_other_libraries_are_lengths() -> None:
    problem = CAUSAL.problem({"n": np.int32(8)}, q_offset=np.int64(0))
    assert type(problem.q[0].lengths[0]) is int


def test_sizes_that_are_missing_or_unknown() -> None:
    assert codes(CAUSAL, {}) == ["AL405"]
    assert codes(CAUSAL, {"q.n": 3}) == ["AL405"]
    assert codes(CAUSAL, {"n": 3, "m": 4}) == ["AL412"]
    assert codes(CAUSAL, {"n": 3, "q.m": 4}) == ["AL412"]


def test_a_prefix_may_be_empty_and_an_axis_not() -> None:
    p = pattern("prefix cls: w", "attend where true", parameters="(w: int = 0)")
    problem = p.problem({"n": 4})
    assert (problem.q_len, problem.q[1].start) == (4, 0)
    assert codes(p.with_params(w=-1), {"n": 4}) == ["AL406"]
    named = pattern("prefix cls", "attend where true")
    assert codes(named, {"n": 4}) == ["AL405"]
    assert named.problem({"n": 4, "cls": 3}).k_len == 7
    assert codes(named, {"n": 4, "cls": -3}) == ["AL406"]


def test_sides_of_their_own_lengths() -> None:
    problem = CAUSAL.problem({"q.n": 2, "k.n": 5}, q_offset=3)
    assert (problem.q_len, problem.k_len) == (2, 5)
    assert (problem.q[0].origin, problem.k[0].origin) == ((3,), (0,))
    both = CAUSAL.problem({"n": 5, "q.n": 2})
    assert (both.q_len, both.k_len) == (2, 5)


def test_lengths_of_the_sides_are_told_apart() -> None:
    p = pattern("attend where q.n + len(k.n) - len(q.n) >= k.n")
    mask = p.mask({"q.n": 2, "k.n": 4})
    assert mask.int().tolist() == [[[1, 1, 1, 0], [1, 1, 1, 1]]]
    assert where(pattern("attend where k.n < len(n) - len(q.n)")) == "false"


@pytest.mark.parametrize("offset", [-1, 1.5, "3", 2**31])
def test_an_offset_that_is_none(offset: object) -> None:
    with pytest.raises(attnlang.PatternError) as raised:
        CAUSAL.problem({"n": 4}, q_offset=offset)  # type: ignore[arg-type]
    (found,) = raised.value.diagnostics
    assert (found.code, "q_offset" in found.message) == ("AL406", True)


def test_the_offset_moves_queries_along_the_first_axis_alone() -> None:
    p = attnlang.parse("pattern p:\n    over t, x\n    attend where k.t <= q.t and k.x == q.x\n")
    problem = p.problem({"q.t": 1, "k.t": 4, "x": 3}, q_offset=3)
    assert problem.q[0].origin == (3, 0)
    whole, step = p.mask({"t": 4, "x": 3}), p.mask({"q.t": 1, "k.t": 4, "x": 3}, q_offset=3)
    assert (whole[:, 9:] == step).all()


# -- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "kv_heads"), [(0, None), (4, 3), (3, 4), (4, 0), (-2, None)])
def test_head_counts_that_do_not_divide(heads: int, kv_heads: int | None) -> None:
    assert codes(CAUSAL, {"n": 4}, heads=heads, kv_heads=kv_heads) == ["AL411"]


def test_a_table_has_one_value_or_one_a_head() -> None:
    p = pattern("attend where q.n - k.n < w[head]", parameters="(w: int[head] = (1, 2))")
    p.problem({"n": 4}, heads=2)
    assert codes(p, {"n": 4}, heads=3) == ["AL411"]
    p.with_params(w=5).problem({"n": 4}, heads=3)


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        (("[:2]", "[3:]"), "head 2 is in none of the `heads[...]` groups"),
        (("[:3]", "[2:]"), "head 2 is in two groups of the `heads[...]` groups"),
        (("[:2]", "[2:3]"), "head 3 is in none of the `heads[...]` groups"),
        (("[1:]",), "head 0 is in none of the `heads[...]` groups"),
        (("[:-1]", "[-1:]"), "a group begins or ends at head -1; count heads from 0"),
        (
            ("[: heads - 6]", "[heads - 6 :]"),
            "a group begins or ends at head -2; count heads from 0",
        ),
    ],
)
def test_groups_that_do_not_cover_the_heads(groups: tuple[str, ...], why: str) -> None:
    lines = [line for g in groups for line in (f"heads{g}:", "    attend where true")]
    with pytest.raises(attnlang.PatternError) as raised:
        pattern(*lines).problem({"n": 4}, heads=4)
    assert [(d.code, d.message) for d in raised.value.diagnostics] == [("AL411", why)]


def test_groups_follow_the_number_of_heads() -> None:
    p = pattern(
        "heads[: heads // 2]:", "    attend where k.n <= q.n",
        "heads[heads // 2 :]:", "    attend where k.n == q.n",
    )  # fmt: skip
    for heads in (1, 2, 5, 8):
        bounds = [(g.start, g.stop) for g in p.problem({"n": 4}, heads=heads).groups]
        assert bounds == [(a, b) for a, b in ((0, heads // 2), (heads // 2, heads)) if a < b]


def test_an_entry_outside_the_heads_is_zero() -> None:
    p = pattern(
        "attend where k.n <= q.n and q.n - k.n < w[head - 1]", parameters="(w: int[head] = 3)"
    )
    mask = p.mask({"n": 6}, heads=3)
    assert mask.sum((1, 2)).tolist() == [0, 15, 15]
    assert p.plan({"n": 6}, heads=3).pairs == 30
    assert (
        pattern("attend where w[7] > 0", parameters="(w: int[head] = 3)").plan({"n": 6}).pairs == 0
    )


def test_nested_tables_and_key_heads() -> None:
    p = pattern(
        "attend where q.n - k.n < w[u[head] + 1] and k.n <= q.n and kv_head % 2 == 0",
        parameters="(w: int[head] = (1, 2, 3, 4), u: int[head] = (2, 1, 0, 3))",
    )
    mask = p.mask({"n": 5}, heads=4, kv_heads=2)
    assert mask.sum((1, 2)).tolist() == [14, 12, 0, 0]
    assert p.plan({"n": 5}, heads=4, kv_heads=2).pairs == 26


# -- what binding settles -------------------------------------------------------------------------


def test_parameters_and_lengths_become_numbers() -> None:
    p = pattern("attend where q.n - k.n < len(n) // w", parameters="(w: int = 4)")
    assert where(p, 16) == "q.n - k.n < 4"
    names = {type(x) for g in p.problem({"n": 16}).groups for x in (g.attend.where,)}
    assert names == {e.Compare}


def test_comparisons_that_lengths_settle_are_gone() -> None:
    assert where(pattern("attend where k.n <= q.n and k.n >= 0 and q.n < 8")) == "k.n <= q.n"
    assert where(pattern("attend where k.n < 0 or k.n <= q.n")) == "k.n <= q.n"
    assert where(pattern("attend where k.n // 8 == q.n // 8")) == "true"
    assert where(pattern("attend where k.n // 8 == q.n // 8"), 9) != "true"
    assert where(pattern("attend where k.n <= q.n"), q_offset=7) == "true"


def test_problems_are_compared_by_identity() -> None:
    a, b = CAUSAL.problem({"n": 4}), CAUSAL.problem({"n": 4})
    assert isinstance(a, Problem)
    assert a == a
    assert a != b
    assert hash(a) != hash(b)


SEGMENTS = """
pattern p(size: int = 4):
    over n
    prefix summary: ceildiv(len(q.n), size) on k
    suffix tail: len(n) // 2 on k
    attend where k in summary or k in tail or k in grid and causal(n)
"""


def test_sizes_of_segments_are_computed_from_lengths() -> None:
    problem = attnlang.parse(SEGMENTS).problem({"q.n": 10, "k.n": 7})
    assert [x.size for x in problem.q] == [10]
    assert [x.size for x in problem.k] == [3, 7, 3]


def test_the_size_of_a_segment_does_not_follow_another() -> None:
    with pytest.raises(attnlang.PatternError, match="AL207"):
        attnlang.parse(SEGMENTS.replace("len(n) // 2", "len(summary)"))


RULES = """
pattern p(kind: soft | raw = soft, size: int = 4):
    over n
    attend where causal(n)
        normalise softmax if kind == soft else none
"""


def test_a_choice_decides_between_rules() -> None:
    for kind, rule in (("soft", "softmax"), ("raw", "none")):
        (group,) = attnlang.parse(RULES, kind=kind).ir.groups
        assert group.attend.normaliser == rule


@pytest.mark.parametrize(
    "written", ["softmax if size > 3 else none", "softmax if kind == soft else sam"]
)
def test_only_choices_decide_between_rules_that_are_there(written: str) -> None:
    text = RULES.replace("softmax if kind == soft else none", written)
    with pytest.raises(attnlang.PatternError, match="AL206"):
        attnlang.parse(text)


def test_a_query_past_the_axis_goes_round_no_ring() -> None:
    """Its residue class may have no keys: nothing is divided by their number."""
    text = "pattern p:\n    over n\n    attend where near(n, 1, dilation=2, edge=wrap)\n"
    problem = attnlang.parse(text).problem({"q.n": 1, "k.n": 1}, q_offset=1)
    assert problem.q_len == problem.k_len == 1
