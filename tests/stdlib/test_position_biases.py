"""Learned tables of positions: what they add to the scores, and their gradients, by loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.oracles import poses, scores
from tests.oracles.attention import attention
from tests.stdlib.case import Case

Floats = npt.NDArray[np.float64]
IMAGE = {"y": 6, "x": 8}
CLIP = {"t": 6, "v": 8}
PARTS = {"block_t": 3, "grid_t": 2, "block_v": 4, "grid_v": 2}
CALLS = {
    "swin": Case("swin_window", IMAGE, {"window": 4, "shift": 2}, 3),
    "swin, one window": Case("swin_window", {"y": 3, "x": 4}, {"window": 7, "shift": 0}, 2),
    "gcvit": Case("gcvit_global", IMAGE, {"window": 2}, 2),
    "skateformer": Case("skateformer", CLIP, PARTS, 8),
}


def tables(case: Case) -> dict[str, Floats]:
    rng = np.random.default_rng(1)
    if case.name == "skateformer":
        span = 2 * max(PARTS["block_t"], PARTS["grid_t"]) - 1
        joints = (PARTS["grid_v"], PARTS["grid_v"])
        return {
            "bias": rng.standard_normal((case.heads, span)),
            "joint_bias": rng.standard_normal((case.heads, span, *joints)),
        }
    offsets = 2 * case.params["window"] - 1
    return {"bias": rng.standard_normal((case.heads, offsets, offsets))}


def added(case: Case, given: dict[str, Floats]) -> Floats:
    if case.name == "skateformer":
        return poses.skateformer_bias(case.sizes, case.heads, case.params, **given)
    return scores.window_bias(given["bias"], case.sizes, case.params["window"], case.oracle())


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("name", CALLS)
def test_tables_of_positions(name: str, backend: str) -> None:
    case, rng = CALLS[name], np.random.default_rng(0)
    mask, given = case.oracle(), tables(case)
    q, k, v = rng.standard_normal((3, 2, case.heads, mask.shape[-1], 4))
    scale = (case.heads // 4) ** -0.5 if case.name == "skateformer" else None

    def oracle(given: dict[str, Floats]) -> Floats:
        bias = added(case, given)
        return attention(q, k, v, mask, edit=lambda s: s + bias, scale=scale)[0]

    learned = {n: torch.tensor(x, requires_grad=True) for n, x in given.items()}
    tensors = (torch.from_numpy(x) for x in (q, k, v))
    out = case.pattern.compile(backend)(*tensors, case.sizes, **learned)
    np.testing.assert_allclose(out.detach().numpy(), oracle(given), atol=1e-12)

    # The slope along one random direction, by the oracle's values on both sides.
    d_out = rng.standard_normal(out.shape)
    ways = {n: rng.standard_normal(x.shape) for n, x in given.items()}
    out.backward(torch.from_numpy(d_out))
    found = sum(float((learned[n].grad.numpy() * w).sum()) for n, w in ways.items())
    ahead, behind = (
        oracle({n: x + step * ways[n] for n, x in given.items()}) for step in (1e-5, -1e-5)
    )
    assert found == pytest.approx(((ahead - behind) * d_out).sum() / 2e-5, rel=1e-6, abs=1e-7)
