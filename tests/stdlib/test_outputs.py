"""What standard patterns compute: outputs, lse and gradients against loops in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

import attnlang
from tests.oracles import KEPT_WHEN_EMPTY, MASKS, scores
from tests.oracles.attention import attention
from tests.stdlib.cases import Case, smallest

Floats = npt.NDArray[np.float64]
Edit = Callable[[Floats], Floats]
NAMES = sorted(set(attnlang.stdlib.names()) & set(MASKS))
HEADS = 2


def edit_of(case: Case) -> Edit | None:
    if case.name == "alibi":
        n = case.sizes["n"]
        return lambda s: s + scores.alibi_bias(n, n, case.heads)
    if case.name == "mega_chunk" and "bias" in case.inputs:
        table = np.array(case.inputs["bias"])
        return lambda s: s + scores.relative_bias(table, case.sizes["n"])
    if case.name == "softcap":
        return lambda s: scores.softcap(s, case.pattern.params["cap"])
    return None


def tensors(case: Case, kv_heads: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(case.name))
    drawn = case.oracle()
    batch, (n, m) = (len(drawn) if drawn.ndim == 4 else 1), drawn.shape[-2:]
    shapes = ((batch, case.heads, n, 4), (batch, kv_heads, m, 4), (batch, kv_heads, m, width))
    made = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return [x.requires_grad_() for x in made]


def sink_of(case: Case) -> Floats | None:
    """One more logit of the denominator, by head or by head and query."""
    if case.name == "sink_logit":
        return np.array(case.inputs["sink"], dtype=np.float64)
    if case.name == "msa_conv":
        return scores.padding_taps(case.sizes, case.heads, **case.params)
    return None


def scale_of(case: Case) -> float | None:
    return (case.heads // 4) ** -0.5 if case.name == "skateformer" else None


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients(name: str, kv_heads: int) -> None:
    case = smallest(name)
    kept = name in KEPT_WHEN_EMPTY
    q, k, v = tensors(case, kv_heads, width=4 if kept else 3)
    op = case.pattern.compile("reference")
    out, lse = op(q, k, v, case.sizes, return_lse=True, **case.tensors)

    def oracle(q: Floats, k: Floats, v: Floats) -> tuple[Floats, Floats]:
        terms = {"edit": edit_of(case), "sink": sink_of(case), "scale": scale_of(case)}
        return attention(q, k, v, case.seen(), **terms, passthrough=kept)

    arrays = [x.detach().numpy() for x in (q, k, v)]
    expected, norm = oracle(*arrays)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(lse.detach().numpy(), norm, atol=1e-12)

    # The slope along one random direction, by the oracle's values on both sides.
    rng = np.random.default_rng(0)
    d_out, d_lse = rng.standard_normal(out.shape), rng.standard_normal(lse.shape)
    d_lse[np.isinf(norm)] = 0.0
    ways = [rng.standard_normal(x.shape) for x in arrays]
    grads = torch.autograd.grad(
        (out, lse), (q, k, v), (torch.from_numpy(d_out), torch.from_numpy(d_lse))
    )

    def along(step: float) -> float:
        moved = oracle(*(x + step * w for x, w in zip(arrays, ways, strict=True)))
        return float((moved[0] * d_out).sum() + (np.nan_to_num(moved[1], neginf=0.0) * d_lse).sum())

    slope = (along(1e-5) - along(-1e-5)) / 2e-5
    found = sum(float((g.numpy() * w).sum()) for g, w in zip(grads, ways, strict=True))
    assert found == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("heads", range(1, 13))
def test_alibi_slopes(heads: int) -> None:
    """Powers of two and everything between: published slopes, in both backends."""
    n = 6
    generator = torch.Generator().manual_seed(heads)
    q, k, v = torch.randn(3, 1, heads, n, 2, generator=generator, dtype=torch.float64)
    bias = scores.alibi_bias(n, n, heads)
    drawn = MASKS["alibi"]({"n": n}, heads)
    expected, norm = attention(*(x.numpy() for x in (q, k, v)), drawn, edit=lambda s: s + bias)
    for backend in ("reference", "blocked"):
        out, lse = attnlang.compile("stdlib:alibi", backend=backend)(q, k, v, return_lse=True)
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(lse.numpy(), norm, atol=1e-12)


@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_blocked_is_the_reference(name: str) -> None:
    if name not in MASKS:
        pytest.skip("no oracle says at which sizes to call it")
    case = smallest(name)
    q, k, v = tensors(case, 1, width=4)
    found = []
    for backend in ("reference", "blocked"):
        op = case.pattern.compile(backend)
        out, lse = op(q, k, v, case.sizes, return_lse=True, **case.tensors)
        plain = op(q, k, v, case.sizes, **case.tensors)
        total = (
            (out.cos() * out).sum() + lse.nan_to_num(neginf=0.0).sin().sum() + (plain * plain).sum()
        )
        found.append((out, lse, plain, *torch.autograd.grad(total, (q, k, v))))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=0)
