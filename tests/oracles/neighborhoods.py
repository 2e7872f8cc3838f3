"""Neighbourhoods: rule A1 of local.md (stride, dilation, causal), and footprints of convolutions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.oracles.loops import Ints, Mask, coordinates, pairs


def neighborhood_1d(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int | Sequence[int] = 13,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    causal: bool | Sequence[bool] = False,
) -> Mask:
    """Rule A1 on the axis n."""
    return _neighborhood(sizes, ("n",), window, stride, dilation, causal)


def neighborhood_2d(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int | Sequence[int] = 13,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    causal: bool | Sequence[bool] = False,
) -> Mask:
    """Rule A1 on the axes y and x."""
    return _neighborhood(sizes, ("y", "x"), window, stride, dilation, causal)


def neighborhood_3d(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int | Sequence[int] = 13,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    causal: bool | Sequence[bool] = False,
) -> Mask:
    """Rule A1 on the axes t, y and x."""
    return _neighborhood(sizes, ("t", "y", "x"), window, stride, dilation, causal)


def axis_window(
    i: int, length: int, window: int, stride: int, dilation: int, causal: bool
) -> list[int]:
    """The key coordinates that a query at coordinate i sees on one axis."""
    if not 1 <= stride <= window or dilation < 1 or window * dilation > length:
        raise ValueError(f"rule A1 needs stride <= window and window * dilation <= {length}")
    group = list(range(i % dilation, length, dilation))
    u = i // dilation
    leader = stride * (u // stride) + (stride - 1 if causal else stride // 2)
    leader = min(leader, len(group) - 1)
    if causal:
        start = max(leader - window + 1, 0)
        end = u + 1
    else:
        start = leader - window // 2
        start = max(start, 0)
        start = min(start, len(group) - window)
        end = start + window
    return group[start:end]


def gna_extra(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int],
) -> Mask:
    """Rule A1 on a video, and keys behind it that every query sees."""
    video = neighborhood_3d(sizes, window=window, stride=stride)
    always = np.ones((1, video.shape[1], sizes["extra"]), dtype=np.bool_)
    return np.concatenate([video, always], axis=2)


def local_corr_2d(
    sizes: Mapping[str, int], heads: int = 1, *, radius: int, rel: Any = None, rel_bias: Any = None
) -> Mask:
    """At most `radius` rows and columns away; `rel` and `rel_bias` only change scores."""
    tokens = coordinates(sizes, ("y", "x"))

    def rule(i: int, j: int) -> bool:
        (y_i, x_i), (y_j, x_j) = tokens[i], tokens[j]
        return abs(y_i - y_j) <= radius and abs(x_i - x_j) <= radius

    return pairs(len(tokens), rule)


def mvar(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    window: int = 7,
    level: Ints,
    row: Ints,
    column: Ints,
    height: Ints,
    width: Ints,
) -> Mask:
    """Rule A1 on the grid of each scale, its window cut down to a smaller grid; nothing between scales."""

    def rule(i: int, j: int) -> bool:
        if level[i] != level[j]:
            return False
        rows = axis_window(int(row[i]), int(height[i]), min(window, int(height[i])), 1, 1, False)
        columns = axis_window(
            int(column[i]), int(width[i]), min(window, int(width[i])), 1, 1, False
        )
        return row[j] in rows and column[j] in columns

    return pairs(sizes["n"], rule)


def tap_places(i: int, count: int, dilation: int) -> list[int]:
    """Where the taps of a convolution at coordinate i lie, those beyond the axis included."""
    padding = dilation * (count - 1) // 2
    return [i - padding + m * dilation for m in range(count)]


def msa_conv(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    kernel: int | Sequence[int] = 7,
    dilation: int = 1,
) -> Mask:
    """The taps inside the image; those outside count in the softmax, but not here."""
    rows, columns = _per_axis(kernel, 2)
    tokens = coordinates(sizes, ("y", "x"))

    def rule(i: int, j: int) -> bool:
        (y_i, x_i), (y_j, x_j) = tokens[i], tokens[j]
        return y_j in tap_places(y_i, rows, dilation) and x_j in tap_places(x_i, columns, dilation)

    return pairs(len(tokens), rule)


def _neighborhood(
    sizes: Mapping[str, int],
    axes: tuple[str, ...],
    window: int | Sequence[int],
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    causal: int | Sequence[int],
) -> Mask:
    windows = _per_axis(window, len(axes))
    strides = _per_axis(stride, len(axes))
    dilations = _per_axis(dilation, len(axes))
    causals = _per_axis(causal, len(axes))
    tokens = coordinates(sizes, axes)

    # seen[axis][i] are the coordinates that coordinate i sees on that axis
    seen = [
        [
            axis_window(i, sizes[axis], windows[r], strides[r], dilations[r], bool(causals[r]))
            for i in range(sizes[axis])
        ]
        for r, axis in enumerate(axes)
    ]

    def rule(i: int, j: int) -> bool:
        return all(tokens[j][r] in seen[r][tokens[i][r]] for r in range(len(axes)))

    return pairs(len(tokens), rule)


def _per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank:
        raise ValueError(f"{len(values)} values for {rank} axes")
    return values
