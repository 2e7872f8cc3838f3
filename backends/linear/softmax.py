"""Softmax over every prefix, by the chunkwise form."""

from __future__ import annotations

from typing import Literal

import torch

from attnlang.backends.linear.chunkwise import form_of
from attnlang.backends.linear.prefix import PrefixState, prefixed

Tensor = torch.Tensor


def prefix_softmax(
    s: Tensor,
    v: Tensor,
    initial: PrefixState | None = None,
    *,
    segments: Tensor | None = None,
    chunk: int = 64,
    engine: Literal["torch", "triton"] = "torch",
) -> tuple[Tensor, PrefixState]:
    """``out_i = sum_{j<=i} e^{s_j} v_j / sum_{j<=i} e^{s_j}`` and the state to go on from.

    s: scores ``[B, H, N]``, -inf for a token that takes no part. v ``[B, H or fewer, N, V]``.
    The output has v's dtype; while no token has taken part it is 0. segments, chunk,
    engine: as in :func:`chunkwise`.
    """
    return prefixed(form_of(engine, chunk), s, v, initial, segments)
