"""The order in which tiles are begun: what takes longest first."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.module import write
from attnlang.backends.triton.source.printer import function_text
from attnlang.backends.triton.tables import kept
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check

LINE = "pattern p:\n    over n\n    attend where "
GRID = "pattern p:\n    over t, y, x\n    attend where "
LENGTHS = {LINE: {"n": 1500}, GRID: {"t": 7, "y": 5, "x": 6}}
BACKWARDS = {
    "causal": (LINE, "causal(n)", "q"),
    "the future": (LINE, "k.n > q.n + 30", "k"),
    "everything": (LINE, "true", ""),
    "window": (LINE, "causal(n) and band(n, 40)", ""),
    "causal and a window": (LINE, "causal(n) and (band(n, 20) or k.n < 9)", ""),
    "every third": (LINE, "causal(n) and (q.n - k.n) % 3 == 0", "q"),
    "frames": (GRID, "k.t <= q.t", "q"),
    "later frames": (GRID, "k.t >= q.t", "k"),
    "neighbours": (GRID, "near(t, 2)", ""),
}
"""Patterns, and the sides whose last tiles are begun with."""


@pytest.mark.parametrize("name", BACKWARDS)
def test_long_walks_are_begun_with(name: str) -> None:
    header, where, sides = BACKWARDS[name]
    problem = attnlang.parse(header + where + "\n").problem(LENGTHS[header], 2, head_dim=16)
    (tables,) = kept(problem, torch.device("cpu"))
    kernels = write(
        problem.pattern, 0, form_of(problem, problem.groups[0], tables.tiles(), frozenset())
    )
    by_side = {"q": kernels.forward, "k": kernels.key_gradient}
    found = {side for side, x in by_side.items() if "num_programs" in function_text(x.function)}
    assert found == set(sides)
    assert "num_programs" not in function_text(kernels.split_forward.function)


@pytest.mark.parametrize("name", ["causal", "the future", "every third", "frames", "later frames"])
def test_every_tile_is_begun(name: str) -> None:
    header, where, _ = BACKWARDS[name]
    tokens = 150 if header == LINE else 7 * 5 * 6
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, tokens, 16, generator=generator) for h in (4, 2, 2))
    sizes = {} if header == LINE else LENGTHS[header]
    check(AttentionCall(header + where + "\n", sizes, q, k, v, {}, 0))
