"""Patterns of joints and poses: SkateFormer, DSTA, PAAB. Catalogue: local.md."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Ints, Mask, coordinates, pairs, pairs_by_batch, pairs_by_head

Places = list[tuple[int, int]]


def blocks(length: int, size: int) -> Places:
    """(number of the block, place in it) of every coordinate: runs of `size`."""
    found: Places = [(-1, -1)] * length
    for number in range(length // size):
        for place in range(size):
            found[number * size + place] = (number, place)
    return found


def lattices(length: int, members: int) -> Places:
    """(number of the lattice, place in it): `members` coordinates spread over the axis."""
    apart = length // members
    found: Places = [(-1, -1)] * length
    for number in range(apart):
        for place in range(members):
            found[place * apart + number] = (number, place)
    return found


def partitions(sizes: Mapping[str, int], params: Mapping[str, int]) -> list[tuple[Places, Places]]:
    """SkateFormer's four kinds of heads: the partition of time and of joints of each."""
    t, v = sizes["t"], sizes["v"]
    near_t, far_t = blocks(t, params["block_t"]), lattices(t, params["grid_t"])
    near_v, far_v = blocks(v, params["block_v"]), lattices(v, params["grid_v"])
    return [(near_t, near_v), (near_t, far_v), (far_t, near_v), (far_t, far_v)]


def skateformer(
    sizes: Mapping[str, int],
    heads: int = 4,
    *,
    bias: Any = None,
    joint_bias: Any = None,
    **params: int,
) -> Mask:
    """A quarter of the heads for each kind: same part of the time axis, same part of the joints."""
    kinds = partitions(sizes, params)
    tokens = coordinates(sizes, ("t", "v"))

    def rule(h: int, i: int, j: int) -> bool:
        times, joints = kinds[h // (heads // 4)]
        (t_i, v_i), (t_j, v_j) = tokens[i], tokens[j]
        return times[t_i][0] == times[t_j][0] and joints[v_i][0] == joints[v_j][0]

    return pairs_by_head(len(tokens), heads, rule)


def skateformer_bias(
    sizes: Mapping[str, int],
    heads: int,
    params: Mapping[str, int],
    bias: npt.NDArray[np.floating],
    joint_bias: npt.NDArray[np.floating],
) -> npt.NDArray[np.float64]:
    """What is added to the scores [H, N, N], only where the pair attends.

    Kinds 1 and 3: relative time alone. Kinds 2 and 4: relative time, and both joints' places.
    """
    kinds = partitions(sizes, params)
    tokens = coordinates(sizes, ("t", "v"))
    mask = skateformer(sizes, heads, **params)
    found = np.zeros(mask.shape)
    for h, i, j in np.argwhere(mask):
        kind = h // (heads // 4)
        times, joints = kinds[kind]
        span = params["block_t"] if kind in (0, 1) else params["grid_t"]
        (t_i, v_i), (t_j, v_j) = tokens[i], tokens[j]
        step = times[t_i][1] - times[t_j][1] + span - 1
        found[h, i, j] = (
            bias[h, step] if kind in (0, 2) else joint_bias[h, step, joints[v_i][1], joints[v_j][1]]
        )
    return found


def dsta(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    group: Ints,
    branch: Literal["spatial", "temporal"] = "spatial",
) -> Mask:
    """Spatial: joints of one group in a frame, unused slots (negative) with nobody. Temporal: a joint."""
    tokens = coordinates(sizes, ("t", "v"))

    def rule(i: int, j: int) -> bool:
        (t_i, v_i), (t_j, v_j) = tokens[i], tokens[j]
        if branch == "temporal":
            return v_i == v_j
        return t_i == t_j and bool(group[v_i] == group[v_j]) and bool(group[v_i] >= 0)

    return pairs(len(tokens), rule)


def paab(sizes: Mapping[str, int], heads: int = 1, *, pose: npt.NDArray[np.bool_]) -> Mask:
    """The product of the two tokens' flags; the class token in front always has one."""
    flags = np.concatenate([np.ones((len(pose), 1), dtype=np.int64), pose], axis=1)
    return pairs_by_batch(sizes["n"] + 1, flags, lambda m, i, j: bool(m[i] * m[j]))
