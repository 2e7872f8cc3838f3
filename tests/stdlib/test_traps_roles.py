"""What implementers get wrong about prefixes, padding, regions, roles and graphs."""

from __future__ import annotations

import pytest
import torch

import attnlang

load = attnlang.load


def seen(mask: torch.Tensor, query: int, batch: int = 0) -> list[int]:
    """The keys of a query in a mask [H, Nq, Nk] or [B, H, Nq, Nk] of one head."""
    mask = mask[batch, 0] if mask.ndim == 4 else mask[0]
    return mask[query].nonzero().flatten().tolist()


# -- Treat Visual Tokens as Text? -----------------------------------------------------------------

YOPO = {"window": 3, "prefix": 2, "grid": 3}


def test_visual_tokens_see_later_neighbours_and_no_text() -> None:
    mask = load("stdlib:yopo_neighbor", **YOPO).mask({"n": 14})
    assert seen(mask, 2) == [0, 1, 2, 3, 5, 6]  # the corner and the system prompt
    assert seen(mask, 6) == list(range(11))
    assert seen(mask, 10) == [0, 1, 6, 7, 9, 10]


def test_text_is_causal_and_sees_the_whole_image() -> None:
    mask = load("stdlib:yopo_neighbor", **YOPO).mask({"n": 14})
    assert seen(mask, 12) == list(range(13))
    assert seen(mask, 1) == [0, 1]


def test_an_even_window_rounds_down() -> None:
    even, odd = (
        load("stdlib:yopo_neighbor", **{**YOPO, "window": w}).mask({"n": 14}) for w in (4, 3)
    )
    assert torch.equal(even, odd)


def test_only_sequences_longer_than_the_image_are_pruned() -> None:
    pattern = load("stdlib:yopo_neighbor", **YOPO)
    causal = load("stdlib:causal")
    assert torch.equal(pattern.mask({"n": 9}), causal.mask({"n": 9}))
    decoding = {"q.n": 1, "k.n": 14}
    assert torch.equal(pattern.mask(decoding, q_offset=13), causal.mask(decoding, q_offset=13))


# -- Croc -----------------------------------------------------------------------------------------


def test_each_sample_has_its_own_prefix() -> None:
    mask = load("stdlib:croc_mixed").mask({"n": 6}, prefix=torch.tensor([0, 3, 6]))
    assert [seen(mask, 0, b) for b in range(3)] == [[0], [0, 1, 2], [0, 1, 2, 3, 4, 5]]
    assert seen(mask, 4, 1) == [0, 1, 2, 3, 4]


def test_without_an_answer_all_is_prefix() -> None:
    assert bool(load("stdlib:croc_mixed").mask({"n": 6}, prefix=torch.tensor([6])).all())


def test_padding_in_the_prefix_is_seen_again() -> None:
    pad = torch.tensor([[True, False, False, True, False]])
    mask = load("stdlib:croc_mixed").mask({"n": 5}, prefix=torch.tensor([2]), pad=pad)
    assert seen(mask, 4) == [0, 1, 2, 4]


# -- TransVG --------------------------------------------------------------------------------------


def test_the_regression_token_is_never_padding() -> None:
    mask = load("stdlib:transvg_joint").mask({"n": 3}, pad=torch.ones(1, 3, dtype=torch.bool))
    assert [seen(mask, i) for i in range(4)] == [[0]] * 4


# -- IR-Diffusion ---------------------------------------------------------------------------------


def isolation() -> torch.Tensor:
    """References of subjects 1, 2 and the background; then subjects 1, 2, the background."""
    return load("stdlib:isolation_attn").mask(
        {"n": 3, "reference": 3},
        subject=torch.tensor([[1, 2, 0]]),
        reference_subject=torch.tensor([[1, 2, 0]]),
    )


def test_subjects_see_no_other_subject_here_or_among_references() -> None:
    assert seen(isolation(), 0) == [0, 3, 5]
    assert seen(isolation(), 1) == [1, 4, 5]


def test_the_background_sees_the_image_and_no_reference() -> None:
    assert seen(isolation(), 2) == [3, 4, 5]


# -- PrimeComposer --------------------------------------------------------------------------------


def test_samples_without_subject_words_are_not_masked() -> None:
    """The unconditional half of a batch."""
    fg = torch.tensor([[True, False]] * 2)
    subject = torch.tensor([[False, True, False], [False] * 3])
    mask = load("stdlib:region_cross").mask({"n": 2, "t": 3}, fg=fg, subject=subject)
    assert [seen(mask, i, 0) for i in (0, 1)] == [[0, 1, 2], [0, 2]]
    assert bool(mask[1].all())


def test_a_pixel_that_may_see_no_word_gives_0() -> None:
    """A mask of finite numbers would give it the mean of all words."""
    op = load("stdlib:region_cross").compile()
    x = torch.randn(1, 1, 2, 4)
    out = op(x, x, x, fg=torch.tensor([[True, False]]), subject=torch.ones(1, 2, dtype=torch.bool))
    assert bool(out[0, 0, 0].any())
    assert not out[0, 0, 1].any()


# -- MixFormer ------------------------------------------------------------------------------------


def test_there_may_be_any_number_of_templates() -> None:
    mask = load("stdlib:mixformer_asym").mask({"n": 5}, role=torch.tensor([1, 2, 3, 0, 0]))
    assert [seen(mask, i) for i in range(5)] == [[0, 1, 2]] * 3 + [[0, 1, 2, 3, 4]] * 2


# -- AGILE3D --------------------------------------------------------------------------------------

OBJECTS, LABELS = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[0, 2, 2, 0, 0]])


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_a_click_whose_object_owns_no_point_sees_all(backend: str) -> None:
    """One row falls back, the others do not; the background's clicks share id 0."""
    op = load("stdlib:agile_click").compile(backend)
    q, k = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 5, 4)
    v = torch.eye(5)[None, None]
    weights = op(q, k, v, objects=OBJECTS, labels=LABELS)[0, 0]
    found = [row.nonzero().flatten().tolist() for row in weights]
    assert found == [[0, 3, 4], [0, 1, 2, 3, 4], [1, 2], [0, 3, 4]]


def test_the_first_round_sees_the_whole_scene() -> None:
    op = load("stdlib:agile_click").compile()
    v = torch.eye(5)[None, None]
    q, k = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 5, 4)
    weights = op(q, k, v, objects=OBJECTS, labels=torch.full((1, 5), -1))
    assert bool((weights > 0).all())


# -- HopFIR ---------------------------------------------------------------------------------------

CHAIN = (torch.arange(4)[:, None] - torch.arange(4)).abs()


def test_a_ring_may_be_empty_and_then_gives_0() -> None:
    op = load("stdlib:khop_groups", hops=2).compile()
    x = torch.randn(1, 1, 4, 4)
    assert bool(op(x, x, x, graph=CHAIN).any(-1).all())
    far = load("stdlib:khop_groups", hops=3).compile()
    assert far(x, x, x, graph=CHAIN).any(-1).flatten().tolist() == [True, False, False, True]


def test_every_head_has_hops_of_its_own() -> None:
    mask = load("stdlib:khop_groups", hops=[0, 2]).mask({"n": 4}, 2, graph=CHAIN)
    assert [mask[h, 1].nonzero().flatten().tolist() for h in (0, 1)] == [[1], [3]]
    within = load("stdlib:khop_groups", hops=[0, 2], group="within").mask({"n": 4}, 2, graph=CHAIN)
    assert within[1, 1].nonzero().flatten().tolist() == [0, 1, 2, 3]
