"""Patterns of videos: factorized, divided, windowed, radial. Catalogue: local.md.

`t` counts frames and `s` the sites of a frame; a token is (frame, site).
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from tests.oracles.loops import Mask, coordinates, pairs


def factorized_st(
    sizes: Mapping[str, int], heads: int = 1, *, axis: Literal["t", "s"] = "t"
) -> Mask:
    """Temporal attention stays at its site, spatial attention in its frame."""
    tokens = coordinates(sizes, ("t", "s"))
    kept = 1 if axis == "t" else 0
    return pairs(len(tokens), lambda i, j: tokens[i][kept] == tokens[j][kept])


def divided_st_cls(
    sizes: Mapping[str, int], heads: int = 1, *, axis: Literal["t", "s"] = "t"
) -> Mask:
    """The same, and one class token in front that sees and is seen by everything."""
    inner = factorized_st(sizes, axis=axis)[0]
    drawn = np.ones((1, len(inner) + 1, len(inner) + 1), dtype=np.bool_)
    drawn[0, 1:, 1:] = inner
    return drawn


def pieces(length: int, window: int, shift: int = 0) -> list[int]:
    """The number of the piece in which each coordinate lies, cutting at shift, shift + window, ..."""
    found, number = [], 0
    for i in range(length):
        if i > 0 and (i - shift) % window == 0:
            number += 1
        found.append(number)
    return found


def tesa(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window_t: int = 4,
    window_y: int = 4,
    window_x: int = 4,
    shift: int | tuple[int, ...] = 0,
) -> Mask:
    """The same window on all three axes; shifted windows are cut at the ends."""
    shifts = (shift,) * 3 if isinstance(shift, int) else shift
    axes = ("t", "y", "x")
    windows = (window_t, window_y, window_x)
    cut = [pieces(sizes[a], w, o) for a, w, o in zip(axes, windows, shifts, strict=True)]
    tokens = coordinates(sizes, axes)
    place = [tuple(cut[r][token[r]] for r in range(3)) for token in tokens]
    return pairs(len(tokens), lambda i, j: place[i] == place[j])


def swap_ca_3d(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window_t: int = 4,
    window_y: int = 4,
    window_x: int = 4,
) -> Mask:
    """Windows of the video; queries and keys are of different streams on one grid."""
    return tesa(sizes, window_t=window_t, window_y=window_y, window_x=window_x)


def radial_token(sizes: Mapping[str, int], heads: int = 1, *, sink: bool = True) -> Mask:
    """The paper's formula, frame pair by frame pair, with r the ring 2^floor(log2 max(distance, 1)).

    Allowed iff r <= s and |k - l| + 1 <= s / r, or distance mod ceil(r / s) = 0 and k = l.
    """
    s = sizes["s"]
    tokens = coordinates(sizes, ("t", "s"))

    def rule(a: int, b: int) -> bool:
        (i, k), (j, site) = tokens[a], tokens[b]
        distance, ring = abs(i - j), 1
        while 2 * ring <= distance:
            ring *= 2
        near = ring <= s and abs(k - site) + 1 <= s / ring
        every = -(-ring // s)
        return near or (distance % every == 0 and k == site) or (sink and j == 0)

    return pairs(len(tokens), rule)


def radial(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    gamma: float = 1.0,
    model: Literal["wan", "hunyuan"] = "wan",
    block: int = 128,
) -> Mask:
    """The official construction: draw each pair of frames, lay it on the grid of blocks, thin it out.

    The text, if any, comes last; its rows and columns are kept.
    """
    frames, s, text = sizes["t"], sizes["s"], sizes.get("text", 0)
    video = frames * s
    kept = np.zeros((video // block, video // block), dtype=np.bool_)
    for i in range(frames):
        for j in range(frames):
            drawn = _frame_pair(i, j, s, gamma, model, block)
            top, left = i * s % block, j * s % block
            blocks = -(-s // block)
            laid = np.zeros((top + blocks * block, left + blocks * block), dtype=np.bool_)
            laid[top : top + s, left : left + s] = drawn
            for r in range(blocks):
                for c in range(blocks):
                    cell = laid[r * block : (r + 1) * block, c * block : (c + 1) * block]
                    at = (i * s // block + r, j * s // block + c)
                    if _is_dense(cell) and at[0] < len(kept) and at[1] < len(kept):
                        kept[at] = True
    mask = np.ones((1, video + text, video + text), dtype=np.bool_)
    for a in range(video):
        for b in range(video):
            mask[0, a, b] = kept[a // block, b // block]
    return mask


def _frame_pair(i: int, j: int, s: int, gamma: float, model: str, block: int) -> Mask:
    """bool [s, s]: which sites of frames i and j see each other before blocks are formed."""
    if model == "wan" and j == 0:
        return np.ones((s, s), dtype=np.bool_)
    distance = abs(i - j)
    decay = 2.0 ** (s.bit_length() - distance.bit_length())
    width: float = max(decay * gamma, block)
    if distance == 0 or (distance == 1 and model == "hunyuan"):
        width = s
    elif distance == 1:
        width = s // 2
    every = 1 if decay >= block else int(block / decay)
    drawn = np.zeros((s, s), dtype=np.bool_)
    for i in range(s):
        for j in range(s):
            drawn[i, j] = abs(i - j) <= width and distance % every == 0
    return drawn


def _is_dense(cell: Mask) -> bool:
    """More than 3/5 of the columns that hold anything are more than a third full."""
    shares = [column.sum() / len(cell) for column in cell.T]
    holding = sum(share > 0 for share in shares)
    full = sum(share > 1 / 3 for share in shares)
    return holding > 0 and full / holding > 0.6
