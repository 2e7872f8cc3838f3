"""The oracles of sequences, scores and attention against facts that llm.md states."""

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from tests.oracles import MASKS, mask
from tests.oracles.attention import attention
from tests.oracles.loops import keys, same
from tests.oracles.scores import alibi_bias, alibi_slopes, softcap

Floats = npt.NDArray[np.float64]


def document_ids(*lengths: int) -> npt.NDArray[np.int64]:
    return np.array([[d for d, length in enumerate(lengths) for _ in range(length)]])


# --- the table --------------------------------------------------------------------------------


def test_lookup_names_every_function_by_its_id() -> None:
    assert all(mask(name).__name__ == name for name in MASKS)
    with pytest.raises(KeyError, match="no mask oracle for 'caussal'"):
        mask("caussal")


# --- language models --------------------------------------------------------------------------


def test_row_counts_of_sequence_patterns() -> None:
    sizes = {"n": 9}
    assert list(mask("causal")(sizes)[0].sum(1)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert list(mask("full")(sizes)[0].sum(1)) == [9] * 9
    assert list(mask("sliding_window")(sizes, window=3)[0].sum(1)) == [1, 2, 3, 3, 3, 3, 3, 3, 3]
    drawn = mask("streaming_sink")(sizes, sinks=2, window=3)
    assert list(drawn[0].sum(1)) == [1, 2, 3, 4, 5, 5, 5, 5, 5]
    assert keys(drawn, 8) == [0, 1, 6, 7, 8]
    assert same(drawn, mask("sliding_window")(sizes, window=3, sinks=2))


@pytest.mark.parametrize("name", ["alibi", "softcap", "sink_logit"])
def test_score_patterns_mask_causally(name: str) -> None:
    assert same(mask(name)({"n": 7}), mask("causal")({"n": 7}))


def test_longlora_half_groups_stand_alone_when_truncated() -> None:
    drawn = mask("longlora_s2")({"n": 16}, 2)
    assert [keys(drawn, i, head=0)[0] for i in range(16)] == [i // 4 * 4 for i in range(16)]
    assert [keys(drawn, i, head=1)[0] for i in range(16)] == (
        [0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 14, 14]
    )
    assert same(drawn & mask("causal")({"n": 16}), drawn)


def test_longlora_wraps_the_tail_in_front_of_the_head() -> None:
    drawn = mask("longlora_s2")({"n": 16}, 2, edge="wrap")
    assert keys(drawn, 0, head=1) == [0, 14, 15]
    assert keys(drawn, 1, head=1) == [0, 1, 14, 15]
    assert keys(drawn, 15, head=1) == [14, 15]


@pytest.mark.parametrize("n", [8, 12, 16, 20, 24, 28, 32, 40])
@pytest.mark.parametrize("heads", [1, 2, 3, 4])
def test_longlora_edges_differ_where_the_catalogue_says(n: int, heads: int) -> None:
    """On (i < G/2, j >= N - G/2) in shifted heads; for odd G the tail is the larger half."""
    group = n // 4
    head_half, tail_half = group // 2, group - group // 2
    truncate = mask("longlora_s2")({"n": n}, heads, edge="truncate")
    wrap = mask("longlora_s2")({"n": n}, heads, edge="wrap")
    for h, i, j in product(range(heads), range(n), range(n)):
        expected = h >= heads // 2 and i < head_half and j >= n - tail_half
        assert (truncate[h, i, j] != wrap[h, i, j]) == expected
        assert not expected or wrap[h, i, j]


@pytest.mark.parametrize("heads", range(1, 11))
@pytest.mark.parametrize("vert_stride", range(1, 9))
def test_s2_union_is_causal_iff_residues_cover(heads: int, vert_stride: int) -> None:
    """The catalogue: the residues g * step must cover all of Z_vs, which is H >= vs."""
    n = 2 * vert_stride + 2
    options = {"block": 1, "local_blocks": 1, "vert_stride": vert_stride}
    step = max(1, int(vert_stride / heads))
    residues = {g * step % vert_stride for g in range(heads)}
    covers = residues == set(range(vert_stride))
    union = np.logical_or.reduce(mask("s2_local_stride")({"n": n}, heads, **options))
    complete = np.array_equal(union, mask("causal")({"n": n})[0])
    assert complete == covers == (heads >= vert_stride)


def test_s2_blocks_and_dense_heads() -> None:
    options = {"block": 2, "local_blocks": 1, "vert_stride": 8}
    drawn = mask("s2_local_stride")({"n": 40}, 4, **options, dense_heads=1)
    # head h sees the blocks b with (b + 2 h) % 8 == 0, its own block causally, the dense head all
    assert keys(drawn, 38, head=0) == [0, 1, 16, 17, 32, 33, 38]
    assert keys(drawn, 38, head=1) == [12, 13, 28, 29, 38]
    assert keys(drawn, 38, head=2) == [8, 9, 24, 25, 38]
    assert keys(drawn, 38, head=3) == list(range(39))


# --- documents --------------------------------------------------------------------------------


def test_documents_are_separate_blocks_of_the_sequence() -> None:
    doc = document_ids(3, 5, 1)
    full = mask("lca_full_document")({"n": 9}, doc=doc)
    assert full.shape == (1, 1, 9, 9)
    assert list(full[0, 0].sum(1)) == [3, 3, 3, 5, 5, 5, 5, 5, 1]
    causal = mask("lca_causal_document")({"n": 9}, doc=doc)
    assert same(causal[0], full[0] & mask("causal")({"n": 9}))
    with pytest.raises(ValueError, match=r"expected \[batch, 9\]"):
        mask("lca_full_document")({"n": 9}, doc=doc[0])


def test_block_causal_documents_use_blocks_of_the_sequence() -> None:
    drawn = mask("lca_block_causal_document")({"n": 9}, block=4, doc=document_ids(3, 6))
    assert keys(drawn[0], 0) == [0, 1, 2]
    assert keys(drawn[0], 3) == [3]
    assert keys(drawn[0], 4) == [3, 4, 5, 6, 7]
    assert keys(drawn[0], 8) == [3, 4, 5, 6, 7, 8]


def test_lca_windows_count_keys_beside_the_query() -> None:
    sizes = {"n": 20}
    causal = mask("lca_sliding_window_causal")(sizes, window=3)
    assert same(causal, mask("sliding_window")(sizes, window=4))
    both = mask("lca_sliding_window")(sizes, window=3)
    assert keys(both, 10) == [7, 8, 9, 10, 11, 12, 13]
    assert same(both, causal | causal.transpose(0, 2, 1))
    globe = mask("lca_global_sliding_window")(sizes, window=3)
    assert keys(globe, 5) == list(range(20))
    assert keys(globe, 15) == [*range(6), *range(12, 19)]


def test_lca_prefix_includes_its_last_index() -> None:
    drawn = mask("lca_prefix_lm_causal")({"n": 8}, prefix=3)
    assert list(drawn[0].sum(1)) == [4, 4, 4, 4, 5, 6, 7, 8]


# --- scores -----------------------------------------------------------------------------------


def test_alibi_slopes() -> None:
    assert alibi_slopes(8) == [2.0**-e for e in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]
    assert alibi_slopes(12) == [*alibi_slopes(8), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(3) == [2.0**-4, 2.0**-8, 2.0**-2]
    bias = alibi_bias(3, 3, 2)
    assert bias[0].tolist() == [[0, 1 / 16, 1 / 8], [-1 / 16, 0, 1 / 16], [-1 / 8, -1 / 16, 0]]


def test_softcap() -> None:
    scores = np.array([[-1e6, 0.0, 1e6], [1.0, 50.0, -1.0]])
    expected = [[-50, 0, 50], [50 * math.tanh(0.02), 50 * math.tanh(1), -50 * math.tanh(0.02)]]
    np.testing.assert_allclose(softcap(scores, 50.0), np.array(expected))


# --- attention --------------------------------------------------------------------------------


def tensors(
    heads: int = 2, kv_heads: int = 2, n_q: int = 5, n_k: int = 5
) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((2, heads, n_q, 3)),
        rng.standard_normal((2, kv_heads, n_k, 3)),
        rng.standard_normal((2, kv_heads, n_k, 4)),
    )


def test_attention_equals_the_formula() -> None:
    q, k, v = tensors(heads=4, kv_heads=2, n_q=4, n_k=6)
    out, lse = attention(q, k, v, np.ones((1, 4, 6), dtype=np.bool_))
    wide_k, wide_v = k.repeat(2, axis=1), v.repeat(2, axis=1)
    weights = np.exp(q @ wide_k.swapaxes(2, 3) / math.sqrt(3))
    np.testing.assert_allclose(out, weights @ wide_v / weights.sum(3, keepdims=True))
    np.testing.assert_allclose(lse, np.log(weights.sum(3)))


def test_attention_excludes_masked_keys() -> None:
    q, k, v = tensors()
    drawn = mask("causal")({"n": 5})
    out, lse = attention(q, k, v, drawn)
    np.testing.assert_allclose(out[:, :, 0], v[:, :, 0])
    k[:, :, 4], v[:, :, 4] = np.nan, np.nan
    spoiled, spoiled_lse = attention(q, k, v, drawn)
    np.testing.assert_array_equal(spoiled[:, :, :4], out[:, :, :4])
    np.testing.assert_array_equal(spoiled_lse[:, :, :4], lse[:, :, :4])


def test_attention_masks_by_batch_and_head() -> None:
    q, k, v = tensors()
    drawn = np.zeros((2, 2, 5, 5), dtype=np.bool_)
    drawn[1, 0, :, 3] = True
    out, lse = attention(q, k, v, drawn)
    np.testing.assert_allclose(out[1, 0], np.broadcast_to(v[1, 0, 3], (5, 4)))
    assert not out[0].any()
    assert not out[1, 1].any()
    assert (lse[0] == -math.inf).all()


def test_attention_sink_joins_the_denominator_only() -> None:
    q, k, v = tensors()
    sink = np.array([0.5, -1.0])
    drawn = mask("causal")({"n": 5})
    drawn[0, 2] = False
    plain, lse = attention(q, k, v, drawn)
    out, sink_lse = attention(q, k, v, drawn, sink=sink)
    np.testing.assert_allclose(sink_lse, np.logaddexp(lse, sink[None, :, None]))
    np.testing.assert_allclose(sink_lse[:, :, 2], np.broadcast_to(sink, (2, 2)))
    assert not out[:, :, 2].any()
    shown = [0, 1, 3, 4]
    ratio = np.exp(lse - sink_lse)[:, :, shown, None]
    np.testing.assert_allclose(out[:, :, shown], plain[:, :, shown] * ratio)


def test_attention_edits_scaled_scores() -> None:
    q, k, v = tensors()
    drawn = mask("causal")({"n": 5})
    bias = alibi_bias(5, 5, 2)
    out, _ = attention(q, k, v, drawn, scale=2.0, edit=lambda s: softcap(s, 1.5) + bias)
    weights = np.exp(1.5 * np.tanh(q @ k.swapaxes(2, 3) * 2.0 / 1.5) + bias) * drawn
    np.testing.assert_allclose(out, weights @ v / weights.sum(3, keepdims=True))
