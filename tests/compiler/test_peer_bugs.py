"""Bugs found in other attention libraries, as tests of ours. What each peer did stands beside it."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
import torch

import attnlang
from attnlang.compiler.plan.plan import Plan
from tests.compiler.test_classification import tile_truth
from tests.oracles import mask

Tile = tuple[int, int]
DOCUMENTS = attnlang.load("stdlib:lca_causal_document")


def parsed(where: str, axes: str = "n") -> attnlang.Pattern:
    return attnlang.parse(f"pattern p:\n    over {axes}\n    attend where {where}\n")


def exactly(plan: Plan, truth: npt.NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(plan.tile_map(), tile_truth(truth, plan))


def per_row(plan: Plan, kind: int) -> list[int]:
    return [int(n) for n in (plan.tile_map() == kind).sum(axis=1)]


# -- attention-gym: the fast causal builder takes rectangular blocks and tabulates them wrongly ---


def test_causal_tiles_taller_than_wide() -> None:
    plan = attnlang.load("stdlib:causal").plan({"n": 1024}, tile=(256, 128))
    assert per_row(plan, 2) == [0, 2, 4, 6]  # the peer's full counts: 0, 2, 3, 4
    assert per_row(plan, 1) == [2, 2, 2, 2]


def test_causal_tiles_wider_than_tall_do_not_leak_the_future() -> None:
    plan = attnlang.load("stdlib:causal").plan({"n": 1024}, tile=(128, 256))
    assert per_row(plan, 2) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert per_row(plan, 1) == [1] * 8
    exactly(plan, mask("causal")({"n": 1024})[0])


@pytest.mark.parametrize("tile", [(256, 128), (128, 256), (96, 160), (1, 7), (130, 3)])
def test_rectangular_tiles_of_a_ragged_sequence(tile: Tile) -> None:
    sizes = {"n": 517}
    window = attnlang.load("stdlib:sliding_window", window=100, sinks=3)
    exactly(attnlang.load("stdlib:causal").plan(sizes, tile=tile), mask("causal")(sizes)[0])
    drawn = mask("sliding_window")(sizes, window=100, sinks=3)[0]
    exactly(window.plan(sizes, tile=tile), drawn)


# -- attention-gym: generate_natten has 49 keys for an even 6x6 window, 15 to 25 for 5x5 on 12x10 --


@pytest.mark.parametrize(
    ("window", "sizes"),
    [
        (6, {"y": 16, "x": 16}),
        (5, {"y": 12, "x": 10}),
        ((4, 6), {"y": 9, "x": 7}),
        (2, {"y": 5, "x": 3}),
    ],
)
def test_every_query_keeps_its_count_of_keys(window: int | Tile, sizes: dict[str, int]) -> None:
    p = attnlang.load("stdlib:neighborhood_2d", window=window)
    height, width = window if isinstance(window, tuple) else (window, window)
    drawn = p.mask(sizes)[0].numpy()
    assert set(drawn.sum(axis=1).tolist()) == {height * width}
    np.testing.assert_array_equal(drawn, mask("neighborhood_2d")(sizes, window=window)[0])
    for tile in (None, (4, 4), ((2, 4), (4, 2))):
        exactly(p.plan(sizes, tile=tile), drawn)


# -- FA4: five probes of a tile drop live ones ----------------------------------------------------


def test_a_dilated_window_keeps_all_its_live_tiles() -> None:
    p = parsed("0 <= q.n - k.n < 1024 and (q.n - k.n) % 4 == 0")
    live = p.plan({"n": 4096}, tile=128).tile_map() > 0
    assert live.sum() == 252  # the peer drops 24 of them
    exactly(p.plan({"n": 1500}, tile=128), p.mask({"n": 1500})[0].numpy())


def test_two_global_tokens_and_a_local_window_keep_all_their_live_tiles() -> None:
    tokens = "q.n == 5 or q.n == 2100 or k.n == 5 or k.n == 2100"
    p = parsed(f"abs(q.n - k.n) < 64 or {tokens}")
    live = p.plan({"n": 4096}, tile=128).tile_map() > 0
    assert live.sum() == 210  # the peer drops 116 of them
    exactly(p.plan({"n": 2500}, tile=128), p.mask({"n": 2500})[0].numpy())


@pytest.mark.parametrize("seed", range(3))
def test_sorted_documents_are_exact(seed: int) -> None:
    n = 2500 + seed
    doc = torch.randint(0, 12, (1, n), generator=torch.Generator().manual_seed(seed)).sort().values
    plan = DOCUMENTS.plan({"n": n}, tile=(128, 64), doc=doc)
    assert "doc" in plan.known.sorted
    exactly(plan, DOCUMENTS.mask({"n": n}, doc=doc)[0, 0].numpy())


# -- FlexAttention: a ragged tail is padded with False, so its tiles are never full ---------------


def test_the_last_row_of_tiles_keeps_its_full_ones() -> None:
    plan = attnlang.load("stdlib:causal").plan({"n": 1000}, tile=128)
    assert per_row(plan, 2) == list(range(8))
    assert plan.pairs == 1000 * 1001 // 2
    assert plan.density == 0.5005  # the peer prints a sparsity of -63.84% at 100 tokens


def test_the_last_column_of_tiles_keeps_its_full_ones() -> None:
    plan = attnlang.load("stdlib:full").plan({"n": 100}, tile=64)
    assert plan.tiles == {"full": 4, "partial": 0, "empty": 0}
    assert plan.density == 1.0


@pytest.mark.parametrize("n", [63, 64, 65, 127, 128, 129])
def test_lengths_around_a_tile(n: int) -> None:
    for name, params in (("causal", {}), ("sliding_window", {"window": 33})):
        drawn = mask(name)({"n": n}, **params)[0]
        exactly(attnlang.load(f"stdlib:{name}", **params).plan({"n": n}, tile=(64, 32)), drawn)


# -- NATTEN: a closed form that calls a tile full when the key tile is finer than the query's ------


def test_a_key_tile_finer_than_the_stride_is_partial() -> None:
    p = attnlang.load("stdlib:neighborhood_1d", window=4)
    plan = p.plan({"n": 5}, tile=(1, 2))
    exactly(plan, mask("neighborhood_1d")({"n": 5}, window=4)[0])
    assert 1 in plan.tile_map()


def test_a_refused_window_states_the_inequality_that_must_hold() -> None:
    """The peer's message states the opposite one (NATTEN#122)."""
    p = attnlang.load("stdlib:neighborhood_1d", window=5, dilation=3)
    p.problem({"n": 15})
    with pytest.raises(attnlang.PatternError, match="window \\* dilation <= length"):
        p.problem({"n": 14})


# -- off by one between libraries (transformers#39408, flash-attention#1133, vllm, sglang) --------


def test_a_window_counts_keys_and_the_query_is_one_of_them() -> None:
    drawn = attnlang.load("stdlib:sliding_window", window=4).mask({"n": 9})[0]
    assert [int(j) for j in drawn[8].nonzero()] == [5, 6, 7, 8]


def test_a_radius_counts_neighbours_on_each_side() -> None:
    drawn = parsed("within(n, 2)").mask({"n": 9})[0]
    assert [int(j) for j in drawn[4].nonzero()] == [2, 3, 4, 5, 6]


# -- lengths beyond 32-bit products (NeMo-Automodel#3802 trains on a corrupt mask past 46k) -------


@pytest.mark.parametrize(("n", "tile"), [(46_341, 128), (65_537, None), (1_000_003, None)])
def test_counts_of_long_sequences_are_exact(n: int, tile: int | None) -> None:
    plan = attnlang.load("stdlib:causal").plan({"n": n}, tile=tile)
    assert plan.pairs == n * (n + 1) // 2
    window = attnlang.load("stdlib:sliding_window", window=1000).plan({"n": n}, tile=tile)
    assert window.pairs == 1000 * n - 1000 * 999 // 2
    if tile is not None:
        assert sum(plan.tiles.values()) == (-(-n // tile)) ** 2


def test_a_million_tokens_are_planned_and_transposed_at_once() -> None:
    """create_block_mask: out of memory; from_kv_blocks: 14.8 s and 1.6 GiB for the transpose."""
    start = time.perf_counter()
    plan = attnlang.load("stdlib:sliding_window", window=1024, sinks=4).plan(
        {"n": 1 << 20}, tile=128
    )
    table = plan.heads[0].table
    back = table.transposed()
    assert time.perf_counter() - start < 5.0
    assert back.tiles() == table.tiles()
    assert table.nbytes < 2 << 20


# -- packed sequences that leak into each other (pytorch#177378) ----------------------------------


def test_documents_never_meet_in_a_visited_tile() -> None:
    doc = torch.tensor([[0] * 5 + [1] * 64 + [2] + [3] * 30 + [5] * 28])
    same = doc[0][:, None] == doc[0][None, :]
    plan = DOCUMENTS.plan({"n": 128}, tile=16, doc=doc)
    exactly(plan, (same & same.tril()).numpy())
    assert plan.pairs == (same & same.tril()).sum()


def test_documents_that_are_not_in_order_are_found_all_the_same() -> None:
    """Declared sorted, but they are not: the promise is checked, not believed."""
    doc = torch.tensor([[3, 3, 1, 1, 3, 0, 0, 1]]).repeat_interleave(20, dim=1)
    plan = DOCUMENTS.plan({"n": 160}, tile=16, doc=doc)
    exactly(plan, DOCUMENTS.mask({"n": 160}, doc=doc)[0, 0].numpy())
