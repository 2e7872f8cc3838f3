"""Runs and boxes of a row as one loop of steps, whole and in shares."""

from __future__ import annotations

import ast
import itertools
import math
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.triton import launch
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.module import write
from attnlang.backends.triton.source.printer import function_text
from attnlang.backends.triton.steps import NUMBERS, by_row, of_boxes
from attnlang.backends.triton.tables import kept
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check

LINE = "pattern p:\n    over n\n    attend where "
GRID = "pattern p:\n    over y, x\n    attend where "
WALKS: dict[str, tuple[str, dict[str, int]]] = {
    "boxes": (GRID + "near(y, 5) and near(x, 5)", {"y": 11, "x": 17}),
    "many runs": (LINE + "causal(n) and (q.n // 8 - k.n // 8) % 4 == 0", {"n": 190}),
    "many boxes": (
        LINE + "causal(n) and (q.n // 16 - k.n // 16 < 2 or (k.n // 16) % 4 == 0)", {"n": 320}
    ),
    "boxes of keys at a stride": (LINE + "causal(n) and (band(n, 20) or k.n % 32 == 5)", {"n": 330}),
    "boxes of two sizes": (
        "pattern p:\n    over y, x\n    prefix cls: 3\n    attend where q in cls or k in cls or same(y)",
        {"y": 9, "x": 21},
    ),
    "runs": (GRID + "near(y, 3) or (q.y + k.x) % 5 == 0", {"y": 11, "x": 17}),
}  # fmt: skip


def call_of(name: str) -> AttentionCall:
    text, sizes = WALKS[name]
    problem = attnlang.parse(text + "\n").problem(sizes, 2, head_dim=16)
    generator = torch.Generator().manual_seed(0)
    shapes = (problem.q_len, problem.k_len, problem.k_len)
    q, k, v = (torch.randn(1, 2, n, 16, generator=generator) for n in shapes)
    return AttentionCall(text + "\n", sizes, q, k, v, {}, 0)


@pytest.mark.parametrize("shares", [2, 7])
@pytest.mark.parametrize("name", WALKS)
def test_shares_begin_anywhere(
    name: str, shares: int, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a run or box too; where there are more programs than steps some have none."""
    monkeypatch.setattr(launch, "walk_shares", lambda *_: shares)
    check(call_of(name))
    (grid,) = (grid for kernel, _, grid in launched if kernel == "split_forward")
    assert grid[2] == shares


@pytest.mark.parametrize("name", WALKS)
def test_no_item_has_a_loop_of_its_own(name: str) -> None:
    text, sizes = WALKS[name]
    problem = attnlang.parse(text + "\n").problem(sizes, 2, head_dim=16)
    (tables,) = kept(problem, torch.device("cpu"))
    assert (tables.boxed is not None) == ("box" in name)
    form = form_of(problem, problem.groups[0], tables.tiles(), frozenset())
    for kernel in (x for x in write(problem.pattern, 0, form).all if not x.closed):
        tree = ast.parse(function_text(kernel.function).partition("\n")[2])
        loops = [x for x in ast.walk(tree) if isinstance(x, ast.For)]
        inner = [x for x in loops if x.target.id == "turn"]  # type: ignore[attr-defined]
        assert len(inner) == 2, kernel.function.name
        assert not any(
            isinstance(x, ast.For | ast.While) for y in inner for x in ast.walk(y) if x is not y
        )


def test_steps_of_rows_are_those_of_their_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.randint(1, 40, (23, 1 + 2 * len(NUMBERS)), generator=generator)
    offsets = torch.tensor([0, 0, 4, 5, 5, 19, 23])

    def steps(box: list[int], step: int, extents: tuple[int, ...]) -> int:
        axes = [dict(zip(NUMBERS, box[i : i + len(NUMBERS)], strict=True)) for i in (1, 6)]
        cut = extents or tuple(a["extent"] for a in axes)
        tiles = math.prod(-(-a["span"] // c) for a, c in zip(axes, cut, strict=True))
        return tiles * (1 if extents else -(-math.prod(cut) // step))

    for step, extents in ((16, ()), (64, ()), (32, (4, 8)), (16, (16, 1))):
        each = [steps(box, step, extents) for box in boxes.tolist()]
        found = of_boxes(offsets, boxes, step, extents).tolist()
        assert found == [sum(each[a:b]) for a, b in itertools.pairwise(offsets.tolist())]
    assert by_row(torch.zeros(4, dtype=torch.int32), torch.zeros(1)).tolist() == [0, 0, 0]


def test_queries_of_a_grid_that_share_walks_are_put_where_they_belong(launched: list[Any]) -> None:
    """What the shares have is merged in the order of queries, which is not that of a plan's tiles."""
    text = "pattern p:\n    over y, x\n    attend where (q.y + k.y) % 2 == 0 and (q.x + k.x) % 2 == 0\n"
    sizes = {"q.y": 6, "q.x": 9, "k.y": 40, "k.x": 30}
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 16, generator=generator) for n in (54, 1200, 1200))
    check(AttentionCall(text, sizes, q, k, v, {}, 0))
    assert any(kernel == "merge" for kernel, _, _ in launched)
