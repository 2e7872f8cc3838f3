"""HaloNet's zero edge: padding keys have score 0 and value 0, and count in the denominator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attnlang

Y, X, DIM = 7, 8, 4


def padded_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, block: int, halo: int
) -> np.ndarray:
    """Attention over really padded images, a loop over the pixels."""
    margin = block + halo
    keys = np.zeros((Y + 2 * margin, X + 2 * margin, DIM))
    values = np.zeros_like(keys)
    keys[margin : margin + Y, margin : margin + X] = k.reshape(Y, X, DIM)
    values[margin : margin + Y, margin : margin + X] = v.reshape(Y, X, DIM)
    out = np.zeros_like(q)
    for y in range(Y):
        for x in range(X):
            top, left = y // block * block + margin - halo, x // block * block + margin - halo
            size = block + 2 * halo
            near = keys[top : top + size, left : left + size].reshape(-1, DIM)
            scores = near @ q[y * X + x] * DIM**-0.5
            weights = np.exp(scores - scores.max())
            seen = values[top : top + size, left : left + size].reshape(-1, DIM)
            out[y * X + x] = weights @ seen / weights.sum()
    return out


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize(("block", "halo"), [(3, 2), (4, 1), (8, 3)])
def test_zero_edge_is_zero_padding(block: int, halo: int, backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, 1, Y * X, DIM, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    op = attnlang.compile("stdlib:halo_2d", block=block, halo=halo, edge="zero", backend=backend)
    expected = padded_attention(*(t[0, 0].numpy() for t in (q, k, v)), block, halo)
    np.testing.assert_allclose(op(q, k, v, {"y": Y, "x": X})[0, 0].numpy(), expected, atol=1e-12)
