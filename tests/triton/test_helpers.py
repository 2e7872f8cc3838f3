"""Functions that kernels bring along are exact wherever integers go."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from attnlang.backends.triton.helpers import safe_ilog2
from tests.triton.test_attention import DEVICE


@triton.jit
def _ilog2(x, found, size: tl.constexpr):
    at = tl.arange(0, size)
    tl.store(found + at, safe_ilog2(tl.load(x + at)))


@pytest.mark.parametrize("bits", [32, 64])
def test_ilog2_is_exact(bits: int) -> None:
    """Around every power of two, and 0 below 1."""
    dtype = {32: torch.int32, 64: torch.int64}[bits]
    powers = [1 << i for i in range(bits - 1)]
    every = sorted({p + i for p in powers for i in (-1, 0, 1)} | {-5, 2 ** (bits - 1) - 1})
    every += [0] * (256 - len(every))
    x = torch.tensor(every, dtype=dtype, device=DEVICE)
    found = torch.empty_like(x)
    _ilog2[(1,)](x, found, 256)
    assert found.tolist() == [max(n, 1).bit_length() - 1 for n in every]
