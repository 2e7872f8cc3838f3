"""Walks without tables: what they visit, and that nothing is planned for them."""

from __future__ import annotations

import types
from collections.abc import Callable

import numpy as np
import pytest
import torch

import attnlang
from attnlang.backends.triton import attend
from attnlang.backends.triton import tables as made
from attnlang.backends.triton.closed import intervals
from attnlang.backends.triton.lowering import Lowering, Scope
from attnlang.backends.triton.source.printer import function_text
from attnlang.backends.triton.source.tree import Block, Function, Name
from attnlang.backends.triton.spans import attended, spans_of, visit_spans
from attnlang.backends.triton.widths import closed_sides
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.values import closed_groups
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import DEVICE, check

TEXT = "pattern p(w: int = 5):\n    over n\n    attend where {}\n"
BOTH = {
    "causal": "causal(n)",
    "full": "true",
    "window": "causal(n) and band(n, 37)",
    "both ways": "abs(q.n - k.n) <= 20",
    "sinks": "causal(n) and (band(n, 40) or k.n < 9)",
    "global": "abs(q.n - k.n) <= 9 or q.n < 5 or k.n < 5",
    "blocks": "q.n // 24 == k.n // 24",
    "block causal": "k.n // 16 <= q.n // 16",
    "the future": "k.n > q.n + 30",
    "by head": "causal(n) and band(n, 8 * (1 + head))",
    "nothing": "k.n < 0",
    "strided": "k.n <= 3 * (q.n // 3)",
}


class Row(np.ndarray):
    """Numbers that convert as Triton's do."""

    def to(self, dtype: type, bitcast: bool = False) -> Row:
        return self.astype(dtype).view(Row)


def steps(
    where: str, side: Side, tile: int, rows: int, step: int, n: int, offset: int, *, ahead: bool
) -> list[tuple[int, np.ndarray | None]]:
    """Places of the steps that a program of ``rows`` tokens visits, and which pairs of them are
    found to attend; None where nothing is asked."""
    ir = attnlang.parse(TEXT.format(where)).ir
    found = intervals(ir, closed_groups(ir)[0].attend.where, side)
    assert found is not None
    block, standing, scalars = Block(), Scope(Block()), Scope(Block())
    moving = Side.K if side is Side.Q else Side.Q
    scopes: dict[Side | None, Scope] = {None: scalars, side: standing, moving: Scope(Block())}
    spans, ends = spans_of(block, Lowering(ir, side, False, frozenset(), scopes, {}), found)

    def visited(partial: bool) -> Callable[[Block], None]:
        def write(body: Block) -> None:
            at = body.let("at", Name("anchor") + Name("step") * Name("STEP"))
            place = body.let("place", at + Name("slots"))
            body.do(Name("seen")(at, attended(ends, place) if partial else None))

        return write

    visit_spans(block, spans, visited, Name("range"), ahead=ahead)
    body = (*scalars.block.done(), *standing.block.done(), *block.done())
    text = function_text(Function("walk", "", (), (), body)).split("\n", 1)[1]
    seen: list[tuple[int, np.ndarray | None]] = []

    def row(function: Callable[..., object]) -> Callable[..., Row]:
        return lambda *x: np.asarray(function(*x)).view(Row)

    tl = types.SimpleNamespace(
        where=row(np.where), maximum=row(np.maximum), minimum=row(np.minimum),
        min=lambda x, _: x.min(), max=lambda x, _: x.max(),
        int64=np.int64, int32=np.int32, uint32=np.uint32,
    )  # fmt: skip
    place = np.minimum(np.arange(tile * rows, (tile + 1) * rows), n - 1).view(Row)
    values = {
        "tl": tl, f"place_{side}": place, "STEP": step, "head": 1, "origin_q": offset, "origin_k": 0,
        "start_q_grid": 0, "start_k_grid": 0, "length_q": n, "length_k": n, "len_k_n": n,
        "slots": np.arange(step).view(Row), "floordiv": np.floor_divide,
        "seen": lambda at, asked: seen.append((int(at), asked)),
    }  # fmt: skip
    exec(text, values)
    values["walk"]()  # type: ignore[operator]
    return seen


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("offset", [0, 40])
@pytest.mark.parametrize("ahead", [False, True])
def test_steps_hold_every_pair_once_and_tell_it_from_others(
    name: str, side: Side, offset: int, ahead: bool
) -> None:
    n, rows, step = 150, 32, 16
    where = BOTH[name]
    pattern = attnlang.parse(TEXT.format(where))
    mask = pattern.mask({"n": n}, 2, q_offset=offset).numpy()[-1]
    mask = mask if side is Side.Q else mask.T
    for tile in range(-(-n // rows)):
        mine = mask[tile * rows : (tile + 1) * rows]
        covered = np.zeros(n, dtype=int)
        for at, asked in steps(where, side, tile, rows, step, n, offset, ahead=ahead):
            covered[max(at, 0) : at + step] += 1
            some = mine[:, at : at + step]
            assert at < n
            if asked is None:
                assert some.all()
                assert some.shape[1] == step
            else:
                every = np.broadcast_to(asked, (rows, step))
                assert (every[: len(mine), : some.shape[1]] == some).all()
                assert not every[:, some.shape[1] :].any()
        assert covered.max(initial=0) <= 1
        assert covered[mine.any(0)].all()
        # Nothing far from an attended key is visited.
        spread = [np.flatnonzero(mine.any(0))] if mine.any() else []
        for keys in spread:
            away = np.abs(np.flatnonzero(covered)[:, None] - keys).min(1)
            assert away.max(initial=0) < 2 * step
        assert mine.any() or not covered.any()


@pytest.mark.parametrize("name", BOTH)
def test_nothing_is_planned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(*_: object) -> None:
        raise AssertionError("a plan was made")

    monkeypatch.setattr(made, "kept", planned)
    monkeypatch.setattr(attend, "make", planned)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 150, 16, generator=generator) for h in (2, 1, 1))
    check(AttentionCall(TEXT.format(BOTH[name]), {}, q, k, v, {}, 0))


def test_what_needs_tables() -> None:
    for where in ("(q.n - k.n) % 3 == 0", "k.n != q.n - 1 and k.n % 2 == 0", "q.n + k.n < 9"):
        problem = attnlang.parse(TEXT.format(where)).problem({"n": 64}, 1)
        assert not closed_sides(problem, problem.groups[0])
    problem = attnlang.load("stdlib:neighborhood_2d").problem({"y": 16, "x": 16}, 1)
    assert not closed_sides(problem, problem.groups[0])


def test_one_kernel_for_every_length_and_offset() -> None:
    pattern = attnlang.load("stdlib:streaming_sink", window=9, sinks=2)
    op = pattern.compile("triton")
    for queries, keys in ((40, 40), (1, 60), (7, 33)):
        generator = torch.Generator().manual_seed(0)
        q = torch.randn(1, 2, queries, 16, generator=generator).to(DEVICE)
        k, v = (torch.randn(1, 2, keys, 16, generator=generator).to(DEVICE) for _ in range(2))
        offset = keys - queries
        found = op(q, k, v, q_offset=offset)
        exact = pattern.compile("reference")(q.double(), k.double(), v.double(), q_offset=offset)
        assert isinstance(found, torch.Tensor)
        torch.testing.assert_close(found.double(), exact, atol=2e-6, rtol=0)
