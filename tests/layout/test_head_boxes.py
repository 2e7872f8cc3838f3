"""Heads that attend differently: one cut of the queries, and boxes of their own for each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.layout.cost import BATCHED
from attnlang.compiler.plan.make import make
from tests.layout.test_boxes import FACTORS, check_table


@st.composite
def head_problems(draw: st.DrawFn) -> tuple[str, dict[str, int], int]:
    """Two to four heads, each with factors of its own on one or two axes."""
    axes = ("n", "yx")[draw(st.integers(0, 1))]
    heads = draw(st.integers(2, 4))
    sizes = {a: draw(st.integers(10, 60 if len(axes) == 1 else 16)) for a in axes}
    lines = []
    for head in range(heads):
        parts = []
        for axis in axes:
            width = draw(st.integers(2, 5))
            stride = draw(st.integers(1, width))
            parts.append(draw(st.sampled_from(FACTORS)).format(a=axis, w=width, s=stride))
        condition = " and ".join(f"({p})" for p in parts)
        lines.append(f"    heads[{head}:{head + 1}]:\n        attend where {condition}\n")
    return f"pattern p:\n    over {', '.join(axes)}\n{''.join(lines)}", sizes, heads


@settings(max_examples=60, deadline=None)
@given(head_problems())
def test_boxes_of_every_class_equal_brute_force(problem: tuple[str, dict[str, int], int]) -> None:
    text, sizes, heads = problem
    pattern = attnlang.parse(text)
    plan = pattern.plan(sizes, heads=heads)
    truth = pattern.mask(sizes, heads=heads).numpy()
    truth = np.broadcast_to(truth, (heads, *truth.shape[1:]))
    assert plan.pairs == truth.sum()
    for group in plan.heads:
        if group.boxes is not None:
            assert group.boxes.parts[0].q == group.layout.q.extents[0]
            for head in group.heads:
                check_table(group.boxes, truth[head])
        live = group.columns.dense() > 0
        assert np.array_equal(live, group.table.dense().T > 0)


WINDOWS = "pattern p:\n    over n\n    attend where band(n, 3 + 7 * head)\n"


def test_windows_that_differ_by_head_are_boxes() -> None:
    plan = attnlang.parse(WINDOWS).plan({"n": 100}, heads=5)
    truth = [
        np.array([[0 <= q - k < 3 + 7 * h for k in range(100)] for q in range(100)])
        for h in range(5)
    ]
    assert [g.heads for g in plan.heads] == [(0,), (1,), (2,), (3,), (4,)]
    for group in plan.heads:
        assert group.boxes is not None
        check_table(group.boxes, truth[group.heads[0]])
    assert plan.pairs == sum(t.sum() for t in truth)


def test_a_fold_needs_every_class() -> None:
    text = (
        "pattern p:\n    over y, x\n"
        "    heads[0:1]:\n        attend where block(y, 4) and block(x, 4)\n"
        "    heads[1:2]:\n        attend where block(y, 4)\n"
    )
    pattern = attnlang.parse(text)
    plan = make(pattern.problem({"y": 16, "x": 16}, 2), together=True)
    assert all(g.boxes is not None for g in plan.heads)
    assert "y folded by blocks of 4" in str(plan.layout)
    assert "x folded" not in str(plan.layout)
    whose, other = pattern.plan({"y": 16, "x": 16}, heads=2).layouts
    assert whose.startswith("head 0: ")
    assert "x folded by blocks of 4" in whose
    assert other.startswith("head 1: ")
    assert "x folded" not in other


@pytest.mark.parametrize(
    "text",
    [
        WINDOWS,
        "pattern p:\n    over n\n    heads[0:2]:\n        attend where block(n, 8)\n"
        "    heads[2:5]:\n        attend where q.n // 8 == k.n // 8 and causal(n)\n",
        "pattern p:\n    over n\n    heads[0:2]:\n        attend where block(n, 8)\n"
        "    heads[2:5]:\n        attend where true\n",
    ],
)
def test_blocked_follows_each_class(text: str) -> None:
    pattern = attnlang.parse(text)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 5, 45, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    made = [pattern.compile(name)(q, k, v, sizes={"n": 45}) for name in ("blocked", "reference")]
    torch.testing.assert_close(*made)


APART = (
    (
        "pattern p:\n    over n\n    let step = pow2(head)\n"
        "    attend where causal(n) and q.n % step == k.n % step and q.n - k.n < 9 * step\n",
        {"n": 70},
    ),
    (
        "pattern p:\n    over n\n    heads[0:2]:\n        attend where near(n, 5, dilation=3)\n"
        "    heads[2:3]:\n        attend where near(n, 5, dilation=4)\n"
        "    heads[3:]:\n        attend where band(n, 6)\n",
        {"n": 70},
    ),
    (
        "pattern p:\n    over y, x\n    heads[0:2]:\n        attend where same(y)\n"
        "    heads[2:]:\n        attend where same(x)\n",
        {"y": 9, "x": 12},
    ),
    (
        "pattern p:\n    over y, x\n    prefix cls: 2\n    heads[0:3]:\n"
        "        attend where q in cls or k in cls or block(y, 4) and block(x, 4)\n"
        "    heads[3:]:\n        attend where q in cls or k in cls or grid(y, 4) and grid(x, 4)\n",
        {"y": 8, "x": 8},
    ),
)


@pytest.mark.parametrize(("text", "sizes"), APART)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_heads_that_fold_differently_are_taken_apart(
    text: str, sizes: dict[str, int], kv_heads: int
) -> None:
    pattern = attnlang.parse(text)
    problem = pattern.problem(sizes, 4, kv_heads=kv_heads)
    plans = make(problem, machine=BATCHED).parts
    assert len(plans) > 1
    assert sorted(h for p in plans for g in p.heads for h in g.heads) == [0, 1, 2, 3]
    truth = pattern.mask(sizes, 4).numpy()
    for plan in plans:
        for group in plan.heads:
            assert group.boxes is not None
            check_table(group.boxes, truth[group.heads[0]])
    generator = torch.Generator().manual_seed(0)
    widths = (4, kv_heads, kv_heads)
    made = []
    for name in ("blocked", "reference"):
        generator.manual_seed(0)
        tensors = [
            torch.randn(2, h, problem.q_len, 8, generator=generator, dtype=torch.float64)
            for h in widths
        ]
        for x in tensors:
            x.requires_grad_()
        out, lse = pattern.compile(name)(*tensors, sizes=sizes, return_lse=True)
        made.append([out, lse, *torch.autograd.grad(out.square().sum(), tensors)])
    for ours, exact in zip(*made, strict=True):
        torch.testing.assert_close(ours, exact)


def test_heads_that_fold_alike_stay_together() -> None:
    for name, sizes in (("longlora_s2", {"n": 64}), ("neighborhood_2d", {"y": 16, "x": 16})):
        problem = attnlang.load(f"stdlib:{name}").problem(sizes, 4)
        assert len(make(problem, machine=BATCHED).parts) == 1
