"""Every choice of tiles computes the same, whichever a machine has room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnlang.backends.triton import choices as c
from attnlang.backends.triton import tune
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check, interpreted
from tests.triton.test_items import LINE, WALKS, call_of

TABLES = (c._POINTERS, c._DESCRIBED, c._SPREAD, c._EXACT)
TILES = sorted({
    (x.rows, x.step)
    for x in (*(x for t in TABLES for w in t.values() for y in w.values() for x in y), *c._LAST)
})  # fmt: skip
SHAPE = c.Shape("bf16", 64, 64, (128, 128))


def force(monkeypatch: pytest.MonkeyPatch, rows: int, step: int) -> None:
    """Launches take this choice, cut to the tiles of a plan, and no other."""

    def only(_: str, shape: c.Shape, on_keys: bool, capped: bool = True) -> tuple[c.Choice, ...]:
        standing, moving = reversed(shape.blocks) if on_keys else shape.blocks
        return (c.Choice(min(rows, standing), min(step, moving), 4, 1),)

    monkeypatch.setattr(tune, "candidates", only)


@interpreted
@pytest.mark.parametrize("tile", TILES[::5])
def test_some_choices_of_a_worked_out_walk(
    tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, *tile)
    check(closed())


@interpreted
@pytest.mark.long
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("name", WALKS)
def test_every_choice_of_a_plan(
    name: str, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, *tile)
    check(call_of(name))


def closed() -> AttentionCall:
    call = call_of("many runs")
    return replace(call, text=LINE + "causal(n) and (band(n, 70) or k.n < 5)\n")


@pytest.mark.parametrize("kernel", ["forward", "query_gradient", "key_gradient", "row_max0"])
@pytest.mark.parametrize("block", [16, 64, 128])
@pytest.mark.parametrize("described", [False, True])
def test_choices_fit_their_tiles_and_differ(kernel: str, block: int, described: bool) -> None:
    shape = replace(SHAPE, blocks=(block, 128), described=described)
    found = list(c.choices(kernel, shape, kernel == "key_gradient"))
    assert len(found) == len(set(found))
    rows, step = (128, block) if kernel == "key_gradient" else (block, 128)
    assert all(rows % x.rows == 0 and step % x.step == 0 for x in found)
