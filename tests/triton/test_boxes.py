"""Walks over boxes of keys: what they visit, beside the mask, and what kernels then compute."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import attnlang
from attnlang.backends.triton import amounts, attend
from attnlang.backends.triton.boxes import WIDTH, Boxes, BoxWalk
from attnlang.backends.triton.form import Form
from attnlang.backends.triton.tables import kept
from attnlang.pattern import Pattern
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check

DILATED = "pattern p:\n    over n\n    attend where causal(n) and (q.n - k.n) % 3 == 0\n"
BESIDE = """pattern p:
    over y, x
    prefix cls: 2
    attend where q in cls or k in cls or (abs(q.y - k.y) <= 2 and abs(q.x - k.x) <= 1)
"""
UNLIKE = """pattern p:
    over y, x
    attend where abs(q.y - k.y) <= 2 * head and abs(q.x - k.x) <= 5 - 3 * head
"""
NEAR = """pattern p:
    over y, x
    attend where abs(q.y - k.y) <= 3 and abs(q.x - k.x) <= 3
"""
CUBE = """pattern p:
    over t, y, x
    attend where k.t <= q.t and abs(q.y - k.y) <= 1 and q.x // 4 == k.x // 4
"""
CASES: dict[str, tuple[str, dict[str, int]]] = {
    "dilated": (DILATED, {"n": 100}),
    "class tokens": (BESIDE, {"y": 9, "x": 11}),
    "heads of unlike windows": (UNLIKE, {"y": 12, "x": 10}),
    "window": (NEAR, {"y": 17, "x": 13}),
    "three axes": (CUBE, {"t": 3, "y": 5, "x": 9}),
}


def walk_of(pattern: Pattern, sizes: dict[str, int], heads: int) -> tuple[BoxWalk, np.ndarray]:
    """The walk, and the tokens of every query tile."""
    problem = pattern.problem(sizes, heads)
    (tables,) = kept(problem, torch.device("cpu"))
    assert tables.boxed is not None
    return tables.boxed, pattern.plan(sizes, heads).layout.q.tokens


def visited(boxes: Boxes, row: int) -> list[list[int]]:
    """The keys of every tile of a row, as the table's description says."""
    found = []
    for i in range(int(boxes.offsets[row]), int(boxes.offsets[row + 1])):
        corner, *numbers = boxes.boxes[i].tolist()
        axes = [numbers[j : j + WIDTH] for j in range(0, len(numbers), WIDTH)]
        tiles = [
            [range(at, min(at + size, span)) for at in range(0, span, size)]
            for _, _, _, size, span in axes
        ]
        for tile in itertools.product(*tiles):
            found.append(
                [
                    corner + sum(n * pace for n, (_, _, pace, _, _) in zip(near, axes, strict=True))
                    for near in itertools.product(*tile)
                ]
            )
    return found


@pytest.mark.parametrize("name", CASES)
def test_boxes_hold_every_pair_once_and_full_ones_nothing_else(name: str) -> None:
    text, sizes = CASES[name]
    pattern = attnlang.parse(text)
    walk, tokens = walk_of(pattern, sizes, 2)
    masks = pattern.mask(sizes, 2).numpy()
    (tables,) = kept(pattern.problem(sizes, 2), torch.device("cpu"))
    classes = tables.classes.tolist()
    for head in range(2):
        mask = masks[head if len(masks) > 1 else 0]
        for tile, row in enumerate(tokens):
            mine = mask[row[row >= 0]]
            counts = np.zeros(mask.shape[1], dtype=int)
            for kind, boxes in (("partial", walk.partial), ("full", walk.full)):
                for keys in visited(boxes, classes[head] * walk.rows + tile):
                    assert keys
                    np.add.at(counts, keys, 1)
                    assert kind == "partial" or mine[:, keys].all()
                    assert kind == "partial" or not walk.whole or len(keys) == walk.block
            assert counts.max() <= 1
            assert counts[mine.any(0)].all()


def test_much_of_a_large_window_is_full() -> None:
    text = NEAR.replace("<= 3", "<= 16")
    walk, _ = walk_of(attnlang.parse(text), {"y": 64, "x": 64}, 1)
    full, partial = (
        sum(
            math.prod(-(-span // size) for size, span in zip(b[4::WIDTH], b[5::WIDTH], strict=True))
            for b in boxes.boxes.tolist()
        )
        for boxes in (walk.full, walk.partial)
    )
    assert full > partial / 2


@pytest.mark.parametrize("name", CASES)
def test_what_kernels_compute(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    form_of = attend.form_of

    def watched(*args: Any, **how: bool) -> Form:
        made = form_of(*args, **how)  # type: ignore[arg-type]
        launched.append(made.tiles.boxed)
        return made

    monkeypatch.setattr(attend, "form_of", watched)
    monkeypatch.setattr(amounts, "FEWEST_KEYS", 10**9)
    text, sizes = CASES[name]
    n = attnlang.parse(text).problem(sizes, 2).q_len
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, n, 16, generator=generator) for h in (2, 1, 1))
    call = AttentionCall(text, sizes, q, k, v, {})
    check(call)
    assert all(launched)
    biased = text.replace("\n    attend", "\n    input bias: float[head, 5]\n    attend")
    biased += "        score s + bias[head, clamp(q.index - k.index + 2, 0, 4)]\n"
    if name == "window":
        check(replace(call, text=biased, inputs={"bias": torch.randn(2, 5)}))
