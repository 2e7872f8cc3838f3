"""Unions across axes: attentions of disjoint pairs, each of boxes, merged into one softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.plan.branches import branches
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check as check_kernels
from tests.triton.test_attention import interpreted

CASES: dict[str, tuple[str, dict[str, int]]] = {
    "a row and a column": ("same(y) or same(x)", {"y": 7, "x": 9}),
    "a place in time and the first frames": (
        "same(y) and same(x) or k.t < 2", {"t": 5, "y": 3, "x": 4}
    ),
    "a neighbourhood and a frame": (
        "near(t, 3) and near(y, 3) and near(x, 3) or k.t == 0", {"t": 4, "y": 5, "x": 6}
    ),
    "three lines": ("same(t) or same(y) or same(x)", {"t": 3, "y": 4, "x": 5}),
    "two ranges of one axis": ("k.y < 2 or k.y > 5 or same(x)", {"y": 8, "x": 5}),
    "a row, a column and class tokens": (
        "q in cls or k in cls or q in grid and k in grid and (same(y) or same(x))",
        {"y": 5, "x": 6},
    ),
    "text beside a video": (
        "k in text or q in text and k in grid or k in grid and q in grid and (same(x) or k.t == 0)",
        {"t": 4, "x": 6},
    ),
    "causal bars": ("(same(y) or same(x)) and k.index <= q.index", {"y": 6, "x": 7}),
    "blocks and a column": ("block(y, 3) and block(x, 3) or k.x == 0", {"y": 6, "x": 9}),
    "a window and every 16th key from the query": (
        "causal(n) and (band(n, 8) or (q.n - k.n) % 16 == 0)", {"n": 260}
    ),
    "a block and a residue": ("block(n, 16) or q.n % 16 == k.n % 16", {"n": 250}),
    "residues, the first keys and a token for all": (
        "k in cls or k in grid and q in grid and (k.n < 3 or q.n % 16 == k.n % 16)", {"n": 257}
    ),
}  # fmt: skip
SPLIT = [name for name in CASES if name != "causal bars"]
EDITED = "        score s * 0.5 - 0.1 * abs(q.index - k.index)\n        sink sinks[head]\n"
AXES = {2: ("y", "x"), 3: ("t", "y", "x")}


def text_of(where: str, sizes: dict[str, int], more: str = "") -> str:
    body = f"    attend where {where}\n        empty zero\n{more}"
    beside = {"cls": "    prefix cls: 2\n", "text": "    suffix text: 3\n"}
    segments = "".join(line for name, line in beside.items() if f"in {name}" in where)
    over = f"    over {', '.join(sizes)}\n{segments}"
    return f"pattern p:\n{over}    input sinks: float[head] optional\n{body}"


@pytest.mark.parametrize("name", SPLIT)
def test_branches_have_each_pair_once(name: str) -> None:
    where, sizes = CASES[name]
    pattern = attnlang.parse(text_of(where, sizes))
    plan = pattern.plan(sizes, 2)
    assert [b.problem for b in plan.branches] == list(branches(plan.problem))
    assert len(plan.branches) == len(plan.layouts) > 1
    truth = pattern.mask(sizes, 2).numpy()[0]
    total = np.zeros(truth.shape, dtype=int)
    for branch in plan.branches:
        (group,) = branch.heads
        assert group.boxes is not None
        q, k = (np.arange(n)[None] for n in truth.shape)
        total += on_tokens(group.where, branch.problem, branch.known, q, k)[0]
    np.testing.assert_array_equal(total, truth)
    assert plan.pairs == 2 * truth.sum()
    assert plan.visited == sum(b.visited for b in plan.branches)


def test_what_boxes_hold_stays_one() -> None:
    for where, sizes in (
        ("same(y)", {"y": 5, "x": 6}),
        ("near(y, 3) and (near(x, 3) or k.x == 0)", {"y": 6, "x": 7}),
        CASES["causal bars"],
    ):
        assert not branches(attnlang.parse(text_of(where, sizes)).problem(sizes, 2))


@pytest.mark.parametrize("where", ["block(n, 64) or k.n < 4", "band(n, 99) or same(n)"])
def test_intervals_of_a_long_sequence_stay_one(where: str) -> None:
    sizes = {"n": 8192}
    pattern = attnlang.parse(text_of(where, sizes))
    assert not branches(pattern.problem(sizes, 2))
    assert pattern.plan(sizes, 2).heads[0].boxes is not None


@pytest.mark.parametrize(
    "clause", ["        score row_max(s)\n", "        normalise sum\n", "        empty full\n"]
)
def test_rows_that_need_all_their_keys_stay_one(clause: str) -> None:
    where, sizes = CASES["a row and a column"]
    text = text_of(where, sizes, clause)
    text = text.replace("        empty zero\n", "") if "empty full" in clause else text
    assert not branches(attnlang.parse(text).problem(sizes, 2))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("more", ["", EDITED])
def test_blocked_gives_what_the_reference_does(name: str, more: str) -> None:
    where, sizes = CASES[name]
    inputs = {"sinks": torch.tensor([0.5, -1.0])} if more else {}
    check(called(text_of(where, sizes, more), sizes, inputs))


@interpreted
@pytest.mark.parametrize("name", SPLIT)
def test_kernels_give_what_the_reference_does(name: str) -> None:
    where, sizes = CASES[name]
    check_kernels(
        called(text_of(where, sizes, EDITED), sizes, {"sinks": torch.tensor([0.5, -1.0])})
    )


def check(call: AttentionCall) -> None:
    exact, found = (call.gradients(name, lse=True) for name in ("reference", "blocked"))
    for a, b in zip(exact, found, strict=True):
        torch.testing.assert_close(b, a)


def called(text: str, sizes: dict[str, int], inputs: dict[str, Any]) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    length = attnlang.parse(text).problem(sizes, 2).q_len
    q, k, v = (
        torch.randn(2, h, length, 16, generator=generator, dtype=torch.float64).requires_grad_()
        for h in (2, 1, 1)
    )
    inputs = {n: x.double().requires_grad_() for n, x in inputs.items()}
    return AttentionCall(text, sizes, q, k, v, inputs)


PARTS = [
    "same({a})",
    "k.{a} == {n}",
    "k.{a} < {n}",
    "near({a}, 3)",
    "block({a}, {n})",
    "k.{a} <= q.{a}",
]


@st.composite
def unions(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    axes = AXES[draw(st.sampled_from([2, 3]))]
    sizes = {a: draw(st.integers(3, 6)) for a in axes}

    def part(axis: str) -> str:
        return draw(st.sampled_from(PARTS)).format(a=axis, n=draw(st.integers(1, 3)))

    alone = [part(draw(st.sampled_from(axes))) for _ in range(draw(st.integers(1, 2)))]
    both = " and ".join(part(a) for a in axes)
    return " or ".join(draw(st.permutations([*alone, both]))), sizes


@settings(max_examples=30, deadline=None)
@given(unions())
def test_random_unions(union: tuple[str, dict[str, int]]) -> None:
    where, sizes = union
    text = text_of(where, sizes)
    pattern = attnlang.parse(text)
    assert pattern.plan(sizes, 2).pairs == 2 * int(pattern.mask(sizes, 2)[0].sum())
    check(called(text, sizes, {}))
