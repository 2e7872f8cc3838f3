"""Weights that are polynomials of the score, with and without a denominator (Based)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnlang.backends.linear import chunkwise, parallel, recurrent
from attnlang.backends.linear.polynomial import coefficients, feature_count, features
from tests.linear.cases import Case, close, draw, gradients
from tests.oracles.linear import weighted_sum

TAYLOR = (1.0, 1.0, 0.5)


@given(st.integers(1, 9), st.tuples(*[st.floats(-2, 2)] * 3), st.floats(0.1, 2), st.integers(0, 99))
def test_products_of_features_are_the_polynomial(
    width: int, weights: tuple[float, float, float], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.rand(2, width, generator=generator, dtype=torch.float64)
    assert features(k).shape == (feature_count(width),)
    x = scale * (q @ k)
    c0, c1, c2 = weights
    found = (features(q) * coefficients(q, scale, weights)) @ features(k)
    close(found, c0 + c1 * x + c2 * x**2, 1e-11)


def one_head(case: Case, **options: Any) -> torch.Tensor:
    """Head 0 of batch 1 by the definition."""
    q, k, v = (x[1, 0].detach().numpy() for x in (case.q, case.k, case.v))
    c0, c1, c2 = options.pop("weights")
    scale = case.options["scale"]
    return torch.from_numpy(
        weighted_sum(q, k, v, lambda x: c0 + c1 * scale * x + c2 * (scale * x) ** 2, **options)
    )


@pytest.mark.parametrize("weights", [TAYLOR, (0.0, 0.0, 1.0), (0.5, -1.0, -0.25)])
@pytest.mark.parametrize("decay", ["none", "constant"])
@pytest.mark.parametrize("causal", [True, False])
def test_forms_agree(weights: tuple[float, float, float], decay: str, causal: bool) -> None:
    case = draw(decay).learned()
    g = case.options["decay"][0].item() if decay == "constant" else 0.0
    options: dict[str, Any] = {"weights": weights, "causal": causal}
    looped, state = case.run(recurrent, **options)
    close(looped[1, 0], one_head(case, log_decay=g, **options))
    close(case.run(parallel, **options), looped)
    found, final = case.run(chunk=8, **options)
    close(found, looped)
    last = None if not causal else state
    wanted = gradients(case, looped, last)
    for a, b in zip(gradients(case, found, last and final), wanted, strict=True):
        close(a, b, 1e-11)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("eps", [1e-12, 0.5])
def test_based(causal: bool, eps: float) -> None:
    """The paper's kernel: 1 + x + x^2 / 2 over its sum."""
    case = draw("none").learned()
    options: dict[str, Any] = {"weights": TAYLOR, "causal": causal}
    for form in (recurrent, chunkwise, parallel):
        out = case.run(form, normalise="sum", eps=eps, **options)
        out = out if form is parallel else out[0]
        close(out[1, 0], one_head(case, normalise=True, eps=eps, **options))


def test_per_token_decays_and_packed_sequences() -> None:
    segments = torch.tensor([[0] * 5 + [1] * 20 + [4] * 12, [2] * 16 + [3] * 21])
    case = draw("token", segments=segments).learned()
    looped, state = case.run(recurrent, weights=TAYLOR)
    found, final = case.run(chunk=8, weights=TAYLOR)
    close(found, looped)
    close(final.s, state.s)
    assert final.s.shape == (2, 4, feature_count(5), 3)
    wanted = gradients(case, looped, state)
    for a, b in zip(gradients(case, found, final), wanted, strict=True):
        close(a, b, 1e-11)


@pytest.mark.parametrize("case", [draw("channel"), draw("token", delta=True)])
@pytest.mark.parametrize("form", [recurrent, parallel, chunkwise])
def test_polynomials_that_are_no_sums_of_features(case: Case, form: Any) -> None:
    with pytest.raises(ValueError, match="polynomial weights"):
        case.run(form, weights=TAYLOR)
