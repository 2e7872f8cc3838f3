"""What implementers get wrong about attentions that are made of others."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError

load = attnlang.load
Tensor = torch.Tensor


def qkv(n: int, heads: int = 2, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(1, heads, n, width, generator=generator).double() for _ in range(3)]


# -- Music Transformer ----------------------------------------------------------------------------


def test_a_longer_table_is_read_from_its_end() -> None:
    """The last row is distance 0: rows in front of those that are needed change nothing."""
    q, k, v = qkv(6)
    table = torch.randn(2, 9, 4, dtype=torch.float64)
    long = load("stdlib:music_relative", reach=9).compile()(q, k, v, E=table)
    short = load("stdlib:music_relative", reach=6).compile()(q, k, v, E=table[:, 3:])
    torch.testing.assert_close(long, short)


def test_far_keys_are_not_clipped_to_the_first_row() -> None:
    q, k, v = qkv(6)
    table = torch.randn(2, 2, 4, dtype=torch.float64)
    padded = torch.cat([torch.zeros(2, 4, 4, dtype=torch.float64), table], 1)
    short = load("stdlib:music_relative", reach=2).compile()(q, k, v, E=table)
    torch.testing.assert_close(
        short, load("stdlib:music_relative", reach=6).compile()(q, k, v, E=padded)
    )


# -- VSTAR ----------------------------------------------------------------------------------------


def test_a_negative_largest_score_pushes_nearby_frames_away() -> None:
    """The bump has the sign of the row's largest score, before any edit."""
    q, k, _ = qkv(5, 1)
    op = load("stdlib:vstar_tar", strength=1.0, sigma=1.0).compile()
    v = torch.eye(5, dtype=torch.float64)[None, None]
    up = op(q.abs(), k.abs(), v)[0, 0].diagonal()
    down = op(q.abs(), -k.abs(), v)[0, 0].diagonal()
    plain = attnlang.compile("stdlib:full")
    assert bool((up > plain(q.abs(), k.abs(), v)[0, 0].diagonal()).all())
    assert bool((down < plain(q.abs(), -k.abs(), v)[0, 0].diagonal()).all())


# -- HiLo -----------------------------------------------------------------------------------------


def test_heads_within_windows_come_first() -> None:
    q, k, v = qkv(16, 4)
    sizes = {"y": 4, "x": 4}
    out = load("stdlib:hilo", window=2, alpha=0.25).compile()(q, k, v, sizes)
    near = load("stdlib:maxvit_block", window=2).compile()(q, k, v, sizes)
    torch.testing.assert_close(out[:, :3], near[:, :3])
    assert not torch.allclose(out[:, 3], near[:, 3])


def test_windows_of_one_pixel_leave_plain_attention() -> None:
    q, k, v = qkv(6)
    out = load("stdlib:hilo", window=1).compile()(q, k, v, {"y": 2, "x": 3})
    torch.testing.assert_close(out, attnlang.compile("stdlib:full")(q, k, v))


def test_an_image_that_windows_do_not_fit_is_refused() -> None:
    q, k, v = qkv(9)
    with pytest.raises(PatternError, match="windows fit the image"):
        load("stdlib:hilo", window=2).compile()(q, k, v, {"y": 3, "x": 3})
