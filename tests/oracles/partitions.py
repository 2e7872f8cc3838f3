"""Patterns that cut the image in parts: Swin, MaxViT, DaViT, GCViT, HaloNet, polyphase windows.

Catalogue: local.md.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.oracles.loops import Ints, Mask, coordinates, pairs


def swin_window(
    sizes: Mapping[str, int], heads: int = 1, *, window: int = 7, shift: int = 0, bias: Any = None
) -> Mask:
    """Same window on both axes; windows start at `shift` and do not wrap around."""
    return _on_both_axes(sizes, lambda i, j, length: (i - shift) // window == (j - shift) // window)


def maxvit_block(sizes: Mapping[str, int], heads: int = 1, *, window: int = 7) -> Mask:
    """Same window x window block."""
    return _on_both_axes(sizes, lambda i, j, length: i // window == j // window)


def maxvit_grid(sizes: Mapping[str, int], heads: int = 1, *, grid: int = 7) -> Mask:
    """Same lattice of grid x grid tokens, L / grid apart: `grid` counts members, not spacing."""
    if sizes["y"] % grid or sizes["x"] % grid:
        raise ValueError(f"y={sizes['y']} and x={sizes['x']} must be multiples of grid={grid}")
    return _on_both_axes(sizes, lambda i, j, length: i % (length // grid) == j % (length // grid))


def davit_window(sizes: Mapping[str, int], heads: int = 1, *, window: int = 7) -> Mask:
    """Windows that must divide the image."""
    if sizes["y"] % window or sizes["x"] % window:
        raise ValueError(f"y={sizes['y']} and x={sizes['x']} must be multiples of {window}")
    return maxvit_block(sizes, window=window)


def gcvit_global(
    sizes: Mapping[str, int], heads: int = 1, *, window: int = 7, bias: Any = None
) -> Mask:
    """The same: what is global is where the queries come from."""
    return davit_window(sizes, window=window)


def poly_window(sizes: Mapping[str, int], heads: int = 1, *, window: int = 7, anchor: Ints) -> Mask:
    """Roll each image so that its anchor comes first, cut windows, and look where pixels came from."""
    tokens = coordinates(sizes, ("y", "x"))
    height, width = sizes["y"], sizes["x"]
    drawn = []
    for first_y, first_x in anchor:
        part = {}
        for p in range(height):
            for r in range(width):
                at = (int(p + first_y) % height, int(r + first_x) % width)
                part[at] = (p // window, r // window)
        drawn.append(pairs(len(tokens), lambda i, j, part=part: part[tokens[i]] == part[tokens[j]]))
    return np.stack(drawn)


def halo_2d(
    sizes: Mapping[str, int], heads: int = 1, *, block: int = 8, halo: int = 3, edge: str = "zero"
) -> Mask:
    """The query's block and `halo` pixels around it, cut at the image border.

    Only real keys: with edge=zero the missing ones still count in the softmax, but not here.
    """
    return _on_both_axes(
        sizes,
        lambda i, j, length: i // block * block - halo <= j < i // block * block + block + halo,
    )


def _on_both_axes(sizes: Mapping[str, int], rule: Callable[[int, int, int], bool]) -> Mask:
    """rule(query coordinate, key coordinate, length) must hold on y and on x."""
    tokens = coordinates(sizes, ("y", "x"))

    def both(i: int, j: int) -> bool:
        (y_i, x_i), (y_j, x_j) = tokens[i], tokens[j]
        return rule(y_i, y_j, sizes["y"]) and rule(x_i, x_j, sizes["x"])

    return pairs(len(tokens), both)
