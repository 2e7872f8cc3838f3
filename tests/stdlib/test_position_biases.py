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
WIDTH = 4
IMAGE = {"y": 6, "x": 8}
CLIP = {"t": 6, "v": 8}
PARTS = {"block_t": 3, "grid_t": 2, "block_v": 4, "grid_v": 2}
CALLS = {
    "swin": Case("swin_window", IMAGE, {"window": 4, "shift": 2}, 3),
    "swin, one window": Case("swin_window", {"y": 3, "x": 4}, {"window": 7, "shift": 0}, 2),
    "gcvit": Case("gcvit_global", IMAGE, {"window": 2}, 2),
    "colormnet": Case("local_corr_2d", IMAGE, {"radius": 2}, 2),
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
    if case.name == "local_corr_2d":
        offsets = (2 * case.params["radius"] + 1,) * 2
        return {
            "rel": rng.standard_normal((case.heads, *offsets, WIDTH)),
            "rel_bias": rng.standard_normal((case.heads, *offsets)),
        }
    offsets = 2 * case.params["window"] - 1
    return {"bias": rng.standard_normal((case.heads, offsets, offsets))}


def added(case: Case, q: Floats, given: dict[str, Floats]) -> Floats:
    """What the tables add to the scores, [H, N, N] or with a batch axis before."""
    if case.name == "skateformer":
        return poses.skateformer_bias(case.sizes, case.heads, case.params, **given)
    if case.name == "local_corr_2d":
        radius = case.params["radius"]
        vectors = scores.offset_vectors(q, given["rel"], case.sizes, radius)
        ones = np.ones((*q.shape[:3], 1))
        return vectors + scores.offset_vectors(
            ones, given["rel_bias"][..., None], case.sizes, radius
        )
    return scores.window_bias(given["bias"], case.sizes, case.params["window"], case.oracle())


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("name", CALLS)
def test_tables_of_positions(name: str, backend: str) -> None:
    case, rng = CALLS[name], np.random.default_rng(0)
    mask = case.oracle()
    q, k, v = rng.standard_normal((3, 2, case.heads, mask.shape[-1], WIDTH))
    scale = (case.heads // 4) ** -0.5 if case.name == "skateformer" else None

    def oracle(q: Floats, **given: Floats) -> Floats:
        extra = added(case, q, given)
        return attention(q, k, v, mask, edit=lambda s: s + extra, scale=scale)[0]

    values = {"q": q, **tables(case)}
    learned = {n: torch.tensor(x, requires_grad=True) for n, x in values.items()}
    given = {n: x for n, x in learned.items() if n != "q"}
    out = case.pattern.compile(backend)(
        learned["q"], torch.from_numpy(k), torch.from_numpy(v), case.sizes, **given
    )
    np.testing.assert_allclose(out.detach().numpy(), oracle(**values), atol=1e-12)

    # The slope along one random direction, by the oracle's values on both sides.
    d_out = rng.standard_normal(out.shape)
    ways = {n: rng.standard_normal(x.shape) for n, x in values.items()}
    out.backward(torch.from_numpy(d_out))
    found = sum(float((learned[n].grad.numpy() * w).sum()) for n, w in ways.items())
    ahead, behind = (
        oracle(**{n: x + step * ways[n] for n, x in values.items()}) for step in (1e-5, -1e-5)
    )
    assert found == pytest.approx(((ahead - behind) * d_out).sum() / 2e-5, rel=1e-6, abs=1e-7)
