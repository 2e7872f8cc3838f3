"""Sequence patterns of language models. Catalogue: llm.md; i is the query, j the key."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from tests.oracles.loops import Mask, pairs, pairs_by_head


def causal(sizes: Mapping[str, int], heads: int = 1) -> Mask:
    """A token sees itself and everything before it."""
    return pairs(sizes["n"], lambda i, j: j <= i)


def full(sizes: Mapping[str, int], heads: int = 1) -> Mask:
    """Every token sees every token."""
    return pairs(sizes["n"], lambda i, j: True)


def sliding_window(
    sizes: Mapping[str, int], heads: int = 1, *, window: int = 4096, sinks: int = 0
) -> Mask:
    """The last `window` keys, the query itself included, and the first `sinks` keys."""
    return pairs(sizes["n"], lambda i, j: j <= i and (i - j < window or j < sinks))


def based_swa(sizes: Mapping[str, int], heads: int = 1, *, window: int = 128) -> Mask:
    """Based: `0 <= i - j <= W / 2`."""
    return pairs(sizes["n"], lambda i, j: 0 <= i - j <= window // 2)


def streaming_sink(
    sizes: Mapping[str, int], heads: int = 1, *, sinks: int = 4, window: int = 2048
) -> Mask:
    """StreamingLLM, mask only: `j <= i and (j < S or i - j < R)`."""
    return pairs(sizes["n"], lambda i, j: j <= i and (j < sinks or i - j < window))


def alibi(sizes: Mapping[str, int], heads: int = 1) -> Mask:
    """ALiBi masks causally; its bias is `scores.alibi_bias`."""
    return causal(sizes, heads)


def softcap(sizes: Mapping[str, int], heads: int = 1, *, cap: float = 50.0) -> Mask:
    """Soft capping masks causally; its score edit is `scores.softcap`."""
    return causal(sizes, heads)


def sink_logit(
    sizes: Mapping[str, int], heads: int = 1, *, sink: npt.NDArray[np.floating] | None = None
) -> Mask:
    """A sink logit masks causally; the logit itself goes to `attention(sink=...)`."""
    return causal(sizes, heads)


def longlora_s2(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    group_ratio: int = 4,
    edge: Literal["truncate", "wrap"] = "truncate",
) -> Mask:
    """LongLoRA: groups of G = N // group_ratio tokens, cut half a group later in the upper heads.

    Heads h < H // 2 are not shifted. `truncate` is the official flash path (a): cuts at G // 2,
    G // 2 + G, ... so the two half-groups at the ends stand alone. `wrap` is path (b): the
    sequence is rolled by G // 2 first, so the last group is [tail, head], causal in rolled order.
    """
    n = sizes["n"]
    group = n // group_ratio
    if group < 1:
        raise ValueError(f"n={n} has no group of n // {group_ratio} tokens")
    half = group // 2

    def rule(h: int, i: int, j: int) -> bool:
        if h < heads // 2:
            return i // group == j // group and j <= i
        if edge == "truncate":
            return (i - half) // group == (j - half) // group and j <= i
        rolled_i, rolled_j = (i - half) % n, (j - half) % n
        return rolled_i // group == rolled_j // group and rolled_j <= rolled_i

    return pairs_by_head(n, heads, rule)


def s2_local_stride(
    sizes: Mapping[str, int],
    heads: int = 1,
    *,
    block: int = 64,
    local_blocks: int = 16,
    vert_stride: int = 8,
    dense_heads: int = 0,
    causal: bool = True,
) -> Mask:
    """S2-Attention with one key head a query head and no offset.

    Causal, "absolute": a block sees the last `local_blocks` blocks, itself included, and every
    `vert_stride`-th block of the past, which one depends on the head; the last `dense_heads` heads
    see all of the past. Bidirectional, "relative": blocks at multiples of `vert_stride` from the
    band of `local_blocks` on either side, alike in all heads.
    """
    step = max(1, vert_stride // heads)

    def rule(h: int, i: int, j: int) -> bool:
        a, b = i // block, j // block
        if not causal:
            left, right = max(0, a - b - local_blocks + 1), max(0, b - a - local_blocks + 1)
            return (left + right) % vert_stride == 0
        local = a - b < local_blocks
        vertical = (b + h * step) % vert_stride == 0
        dense = h >= heads - dense_heads
        return b <= a and (local or vertical or dense) and j <= i

    return pairs_by_head(sizes["n"], heads, rule)
