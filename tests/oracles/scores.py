"""Score edits, one number at a time."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Mask, coordinates
from tests.oracles.neighborhoods import tap_places

Floats = npt.NDArray[np.float64]


def alibi_slopes(heads: int) -> list[float]:
    """The published slopes: 2^(-8(h+1)/H) when H is a power of two.

    Otherwise the slopes of the closest lower power of two P, then the first, third, fifth, ...
    slope of the sequence of 2P until all heads have one.
    """
    power = 1
    while power * 2 <= heads:
        power *= 2
    slopes = [2.0 ** (-8.0 * (h + 1) / power) for h in range(power)]
    finer = [2.0 ** (-8.0 * (h + 1) / (2 * power)) for h in range(2 * power)]
    for h in range(heads - power):
        slopes.append(finer[2 * h])
    return slopes


def alibi_bias(n_q: int, n_k: int, heads: int) -> Floats:
    """ALiBi: -slope[h] * (i - j), float64 [H, Nq, Nk], to be added to the scores."""
    slopes = alibi_slopes(heads)
    bias = np.zeros((heads, n_q, n_k))
    for h in range(heads):
        for i in range(n_q):
            for j in range(n_k):
                bias[h, i, j] = -slopes[h] * (i - j)
    return bias


def relative_bias(table: Floats, n: int) -> Floats:
    """table[i - j + R // 2] of the R entries of a table, 0 beyond its ends, float64 [n, n]."""
    bias = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            at = i - j + len(table) // 2
            if 0 <= at < len(table):
                bias[i, j] = table[at]
    return bias


def window_bias(table: Floats, sizes: Mapping[str, int], window: int, mask: Mask) -> Floats:
    """Swin: table[h][dy + w - 1][dx + w - 1] with d = query - key, float64 [H, N, N], where seen."""
    tokens = coordinates(sizes, ("y", "x"))
    bias = np.zeros((len(table), len(tokens), len(tokens)))
    for i, (y_i, x_i) in enumerate(tokens):
        for j, (y_j, x_j) in enumerate(tokens):
            if mask[0, i, j]:
                bias[:, i, j] = table[:, y_i - y_j + window - 1, x_i - x_j + window - 1]
    return bias


def offset_vectors(q: Floats, table: Floats, sizes: Mapping[str, int], radius: int) -> Floats:
    """ColorMNet: q . table[h, dy + r, dx + r] with d = key - query, unscaled, float64 [B, H, N, N]."""
    tokens = coordinates(sizes, ("y", "x"))
    found = np.zeros((*q.shape[:2], len(tokens), len(tokens)))
    for b, h, i, j in np.ndindex(found.shape):
        down, across = (tokens[j][r] - tokens[i][r] for r in (0, 1))
        if abs(down) <= radius and abs(across) <= radius:
            found[b, h, i, j] = q[b, h, i] @ table[h, down + radius, across + radius]
    return found


def padding_taps(
    sizes: Mapping[str, int], heads: int, kernel: int | Sequence[int], dilation: int
) -> Floats:
    """The log of how many taps lie outside the image [H, N]: keys of score 0. -inf for none."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    found = []
    for y, x in coordinates(sizes, ("y", "x")):
        outside = 0
        for a in tap_places(y, rows, dilation):
            for b in tap_places(x, columns, dilation):
                outside += not (0 <= a < sizes["y"] and 0 <= b < sizes["x"])
        found.append(math.log(outside) if outside else -math.inf)
    return np.tile(np.array(found), (heads, 1))


def softcap(scores: Floats, cap: float) -> Floats:
    """cap * tanh(score / cap), in any shape."""
    capped = np.zeros(scores.shape)
    for index in np.ndindex(scores.shape):
        capped[index] = cap * math.tanh(float(scores[index]) / cap)
    return capped
