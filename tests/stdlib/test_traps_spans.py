"""What implementers get wrong about groups, spans, segments, memories and packed documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attnlang
from tests.oracles import MASKS
from tests.oracles.scores import relative_bias
from tests.oracles.spans import mega_attention
from tests.stdlib.case import documents

load = attnlang.load


def seen(mask: torch.Tensor, query: int, head: int = 0) -> list[int]:
    """The keys of a query in a mask [H, Nq, Nk]."""
    return mask[min(head, len(mask) - 1), query].nonzero().flatten().tolist()


# -- SinkLoRA -------------------------------------------------------------------------------------


def test_sinklora_is_a_reading_of_the_abstract() -> None:
    assert load("stdlib:sinklora_sf").meta.fidelity == "interpretation"


def test_without_its_additions_sinklora_is_longlora() -> None:
    bare = load("stdlib:sinklora_sf", restored=0.0, sinks=0).mask({"n": 18}, 5)
    assert torch.equal(bare, load("stdlib:longlora_s2").mask({"n": 18}, 5))


def test_restored_heads_are_grouped_like_the_first_half() -> None:
    mask = load("stdlib:sinklora_sf", sinks=0).mask({"n": 16}, 8)
    straight = [torch.equal(mask[h], mask[0]) for h in range(8)]
    assert straight == [True] * 6 + [False] * 2
    everything = load("stdlib:sinklora_sf", sinks=0, restored=1.0).mask({"n": 16}, 8)
    assert len({m.numpy().tobytes() for m in everything}) == 1


# -- MoA ------------------------------------------------------------------------------------------


def spans(alpha: float, beta: float, n: int = 64, new: int = 0, sinks: int = 4) -> list[int]:
    pattern = load("stdlib:moa_elastic", sinks=sinks, block=4, new_tokens=new)
    tables = {"alpha": torch.tensor([alpha]), "beta": torch.tensor([beta])}
    return seen(pattern.mask({"n": n}, **tables), n - 1)


def test_alpha_may_be_negative() -> None:
    assert len(spans(-32.0, 1.0)) == 32
    assert len(spans(-1e6, 1.0)) == 8  # never below the sinks and a block


def test_the_length_counts_tokens_not_yet_written() -> None:
    assert len(spans(0.0, 0.25)) == 16
    assert len(spans(0.0, 0.25, new=64)) == 32


def test_the_span_includes_the_sinks() -> None:
    assert spans(0.0, 0.25) == [*range(4), *range(52, 64)]
    assert spans(0.0, 0.25, sinks=0) == [*range(48, 64)]


def test_a_span_is_rounded_up_to_blocks() -> None:
    assert len(spans(17.0, 0.0)) == 20


def test_tables_are_of_query_heads() -> None:
    """Grouped queries may share keys and still have spans of their own."""
    pattern = load("stdlib:moa_elastic", sinks=4, block=4, new_tokens=0)
    tables = {"alpha": torch.tensor([8.0, 32.0]), "beta": torch.zeros(2)}
    mask = pattern.mask({"n": 64}, 2, kv_heads=1, **tables)
    assert [len(seen(mask, 63, head)) for head in (0, 1)] == [8, 32]


def test_blocks_are_coarse_but_the_diagonal_is_not() -> None:
    pattern = load("stdlib:moa_elastic", sinks=4, block=4, new_tokens=0)
    tables = {"alpha": torch.tensor([8.0]), "beta": torch.zeros(1)}
    mask = pattern.mask({"n": 64}, 1, **tables)
    assert seen(mask, 61) == [0, 1, 2, 3, 60, 61]
    assert seen(mask, 2) == [0, 1, 2]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_table_that_holds_no_numbers_still_gives_a_span(value: float) -> None:
    assert len(spans(value, 0.0)) in (8, 64)


# -- Titans ---------------------------------------------------------------------------------------


def test_persistent_keys_have_no_position() -> None:
    """In any order they give the same."""
    op = load("stdlib:titans_mag", window=5, persistent=3).compile("reference")
    q, k, v = torch.randn(1, 2, 9, 4), torch.randn(1, 2, 12, 4), torch.randn(1, 2, 12, 4)
    order = torch.tensor([2, 0, 1, *range(3, 12)])
    torch.testing.assert_close(op(q, k, v), op(q, k[:, :, order], v[:, :, order]))


def test_segments_have_memories_of_their_own() -> None:
    pattern = load("stdlib:titans_mac", segment=4, persistent=1, memory=2)
    mask = pattern.mask({"n": 10})
    assert seen(mask, 0) == [0, 1, 2, 7]
    assert seen(mask, 5) == [0, 3, 4, 11, 12]
    assert seen(mask, 9) == [0, 5, 6, 15, 16]


def test_how_much_is_recalled_follows_from_the_tensors() -> None:
    op = load("stdlib:titans_mac", segment=4, persistent=1, memory=2).compile()
    q, k = torch.randn(1, 1, 10, 4), torch.randn(1, 1, 17, 4)
    assert op(q, k, k).shape == (1, 1, 10, 4)
    with pytest.raises(ValueError, match="fewer than the sizes given need"):
        op(q, k[:, :, :6], k[:, :, :6])


# -- MEGA and TCNCA -------------------------------------------------------------------------------


def test_chunks_do_not_overlap_and_the_last_is_as_if_padded() -> None:
    pattern = load("stdlib:mega_chunk", chunk=4)
    mask = pattern.mask({"n": 10})
    assert seen(mask, 3) == [0, 1, 2, 3]
    assert seen(mask, 4) == [4]
    assert torch.equal(mask, pattern.mask({"n": 12})[:, :10, :10])


def test_the_bias_is_by_distance_in_the_chunk() -> None:
    """It is the same in every chunk: a shift by one leaves the outputs' chunks alike."""
    op = load("stdlib:mega_chunk", chunk=4, causal=False).compile("reference")
    q, k, v = (x.repeat(1, 1, 2, 1) for x in torch.randn(3, 1, 1, 4, 4))
    out = op(q, k, v, bias=torch.randn(7))
    torch.testing.assert_close(out[:, :, :4], out[:, :, 4:])


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("activation", ["laplace", "relu2"])
def test_weights_without_a_softmax(activation: str, causal: bool, backend: str) -> None:
    """Divided by the number of keys in sight, 1 in a row's first place, and by nothing else."""
    n, chunk = 11, 4
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, n, 5, generator=generator, dtype=torch.float64)
    table = torch.randn(2 * chunk - 1, generator=generator, dtype=torch.float64)
    pattern = load("stdlib:mega_chunk", chunk=chunk, activation=activation, causal=causal)
    found = pattern.compile(backend)(q[None, None], k[None, None], v[None, None], bias=table)
    expected = mega_attention(
        *(x.numpy() for x in (q, k, v)),
        MASKS["mega_chunk"]({"n": n}, chunk=chunk, causal=causal),
        relative_bias(table.numpy(), n),
        activation,
    )
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-12)


# -- CAB and the Long-Context Attention Benchmark -------------------------------------------------


def test_the_window_is_a_radius_without_causality_and_a_count_with_it() -> None:
    assert seen(load("stdlib:cab_local", window=2).mask({"n": 9}), 4) == [2, 3, 4, 5, 6]
    causal = load("stdlib:cab_local", window=2, mode="causal_self").mask({"n": 9})
    assert seen(causal, 4) == [3, 4]


def test_across_sequences_the_source_stays_in_sight() -> None:
    for mode in ("noncausal_cross", "causal_cross"):
        mask = load("stdlib:cab_local", window=2, mode=mode).mask({"q.n": 3, "k.n": 7})
        assert bool(mask.all())


def test_all_masks_of_the_benchmark_are_there() -> None:
    masks = (
        "full causal full_document causal_document sliding_window sliding_window_causal "
        "prefix_lm_causal prefix_lm_document share_question causal_blockwise "
        "global_sliding_window block_causal_document"
    )
    assert {f"lca_{name}" for name in masks.split()} <= set(attnlang.stdlib.names())


def test_the_prefix_of_a_document_counts_from_its_start_and_is_inclusive() -> None:
    doc = torch.tensor([documents(3, 6, 3)])
    start = torch.tensor([[0] * 3 + [3] * 6 + [9] * 3])
    pattern = load("stdlib:lca_prefix_lm_document", prefix=2)
    mask = pattern.mask({"n": 12}, doc=doc, start=start)[0]
    assert seen(mask, 3) == [3, 4, 5]
    assert seen(mask, 7) == [3, 4, 5, 6, 7]
    assert seen(mask, 9) == [9, 10, 11]


def test_the_last_document_sees_the_others_whole() -> None:
    doc = torch.tensor([documents(3, 6, 3)])
    mask = load("stdlib:lca_causal_blockwise").mask({"n": 12}, doc=doc, last=torch.tensor([2]))[0]
    assert seen(mask, 4) == [3, 4]
    assert seen(mask, 9) == list(range(10))
