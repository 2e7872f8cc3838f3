"""What implementers get wrong about patterns of images: padding, going round, whose queries."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import attnlang

BACKENDS = ("reference", "blocked")


def load(name: str, **params: Any) -> attnlang.Pattern:
    return attnlang.load(f"stdlib:{name}", **params)


def pixels(row: torch.Tensor, width: int) -> list[tuple[int, int]]:
    return [divmod(int(j), width) for j in row.nonzero()]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# -- MSA-Conv -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kernel", "dilation"), [((3, 3), 1), ((3, 5), 2), ((4, 2), 1), ((4, 2), 3)]
)
def test_taps_outside_the_image_are_zeros_in_the_softmax(
    kernel: tuple[int, int], dilation: int, backend: str
) -> None:
    height, width, dim = 5, 4, 4
    q, k, v = drawn(3, 1, 1, height * width, dim)
    op = attnlang.compile("stdlib:msa_conv", kernel=kernel, dilation=dilation, backend=backend)
    out = op(q, k, v, {"y": height, "x": width})[0, 0].numpy().reshape(height, width, dim)
    image_q, image_k, image_v = (x[0, 0].numpy().reshape(height, width, dim) for x in (q, k, v))
    pad_y, pad_x = (dilation * (size - 1) // 2 for size in kernel)
    for y, x in product(range(height), range(width)):
        scores, values = [], []
        for m, n in product(range(kernel[0]), range(kernel[1])):
            a, b = y - pad_y + m * dilation, x - pad_x + n * dilation
            inside = 0 <= a < height and 0 <= b < width
            scores.append(float(image_q[y, x] @ image_k[a, b]) * dim**-0.5 if inside else 0.0)
            values.append(image_v[a, b] if inside else np.zeros(dim))
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(out[y, x], weights @ np.array(values), atol=1e-12)


def test_an_even_kernel_leans_to_the_right() -> None:
    mask = load("msa_conv", kernel=(1, 4)).mask({"y": 1, "x": 9})[0]
    assert [x for _, x in pixels(mask[4], 9)] == [3, 4, 5, 6]


def test_dilation_spreads_taps_and_makes_no_groups() -> None:
    """At the edge the footprint is cut; a dilated neighbourhood is shifted inward instead."""
    sizes = {"y": 1, "x": 9}
    taps = load("msa_conv", kernel=(1, 3), dilation=2).mask(sizes)[0]
    near = load("neighborhood_2d", window=(1, 3), dilation=(1, 2)).mask(sizes)[0]
    assert [[x for _, x in pixels(m[0], 9)] for m in (taps, near)] == [[0, 2], [0, 2, 4]]
    assert torch.equal(taps[4], near[4])


# -- DaViT and GCViT ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["davit_window", "gcvit_global"])
def test_an_image_that_windows_do_not_divide_is_refused(name: str) -> None:
    with pytest.raises(attnlang.PatternError, match="windows must divide"):
        load(name, window=4).mask({"y": 8, "x": 6})


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_window_asks_the_queries_of_its_own_image(backend: str) -> None:
    """The official code mixes the images of a batch; the definition does not."""
    batch, heads, size, height, width, dim = 2, 2, 3, 6, 9, 4
    k, v = drawn(2, batch, heads, height * width, dim)
    asked = drawn(batch, heads, size, size, dim) + 1.0
    q = asked.repeat(1, 1, height // size, width // size, 1).flatten(2, 3)
    out = attnlang.compile("stdlib:gcvit_global", window=size, backend=backend)(
        q, k, v, {"y": height, "x": width}
    )
    for b, h, y, x in product(range(batch), range(heads), range(height), range(width)):
        rows = range(y // size * size, y // size * size + size)
        columns = range(x // size * size, x // size * size + size)
        own = [row * width + column for row in rows for column in columns]
        scores = k[b, h, own] @ asked[b, h, y % size, x % size] * dim**-0.5
        expected = torch.softmax(scores, 0) @ v[b, h, own]
        torch.testing.assert_close(out[b, h, y * width + x], expected)


# -- polyphase windows ----------------------------------------------------------------------------


def test_windows_that_go_round_hold_both_ends_of_the_image() -> None:
    mask = load("poly_window", window=4).mask({"y": 1, "x": 8}, anchor=torch.tensor([[0, 3]]))[0, 0]
    assert [x for _, x in pixels(mask[0], 8)] == [0, 1, 2, 7]
    swin = load("swin_window", window=4, shift=3).mask({"y": 1, "x": 8})[0]
    assert [x for _, x in pixels(swin[0], 8)] == [0, 1, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_anchored_windows_equal_plain_windows_of_the_rolled_image(backend: str) -> None:
    """Each image of the batch has its own anchor, and moving an image moves its result along."""
    anchor = torch.tensor([[1, 2], [0, 0], [2, 1]])
    sizes = {"y": 6, "x": 9}
    q, k, v = drawn(3, 3, 1, 54, 4)
    poly = attnlang.compile("stdlib:poly_window", window=3, backend=backend)
    plain = attnlang.compile("stdlib:davit_window", window=3)
    out = poly(q, k, v, sizes, anchor=anchor)

    def rolled(x: torch.Tensor, way: int) -> torch.Tensor:
        images = [
            image.unflatten(1, (6, 9)).roll((way * int(y), way * int(x)), (1, 2)).flatten(1, 2)
            for image, (y, x) in zip(x, anchor, strict=True)
        ]
        return torch.stack(images)

    expected = rolled(plain(rolled(q, -1), rolled(k, -1), rolled(v, -1), sizes), 1)
    torch.testing.assert_close(out, expected)


# -- MVAR -----------------------------------------------------------------------------------------


def scales(*lengths: int) -> dict[str, torch.Tensor]:
    """What the tokens of square scales carry."""
    tokens = [(s, y, x, n, n) for s, n in enumerate(lengths) for y in range(n) for x in range(n)]
    names = ("level", "row", "column", "height", "width")
    return {n: torch.tensor(c) for n, c in zip(names, zip(*tokens, strict=True), strict=True)}


def test_a_scale_attends_itself_alone_and_in_both_directions() -> None:
    """Not causal over scales, as VAR is."""
    mask = load("mvar", window=3).mask({"n": 1 + 4 + 25}, **scales(1, 2, 5))[0]
    assert not bool(mask[5:, :5].any())
    assert not bool(mask[:5, 5:].any())
    assert torch.equal(mask[5:, 5:], load("neighborhood_2d", window=3).mask({"y": 5, "x": 5})[0])


def test_a_scale_smaller_than_the_window_is_dense() -> None:
    mask = load("mvar", window=7).mask({"n": 1 + 4 + 9}, **scales(1, 2, 3))[0]
    blocks = torch.block_diag(*(torch.ones(n, n) for n in (1, 4, 9)))
    assert torch.equal(mask, blocks.bool())


# -- ColorMNet ------------------------------------------------------------------------------------


def test_windows_between_frames_are_cut_and_not_shifted() -> None:
    mask = load("local_corr_2d.attended", radius=2).mask({"y": 1, "x": 9})[0]
    assert [x for _, x in pixels(mask[0], 9)] == [0, 1, 2]


def test_offset_vectors_meet_the_query_before_it_is_scaled() -> None:
    """One pixel: its score is q.k / sqrt(d) + q.r, which its log-sum-exp shows."""
    q, k, v = drawn(3, 1, 1, 1, 4)
    rel = drawn(1, 1, 1, 4) + 1.0
    op = attnlang.compile("stdlib:local_corr_2d", radius=0)
    _, lse = op(q, k, v, {"y": 1, "x": 1}, rel=rel, return_lse=True)
    torch.testing.assert_close(lse.sum(), (q * k).sum() / 2 + (q * rel).sum())
