"""What the kernels compute: the reference's outputs, lse and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import triton
from hypothesis import HealthCheck, given, settings

import attnlang
from attnlang.compiler.diagnostics.model import Unsupported
from tests.backends.calls import AttentionCall, calls
from tests.stdlib.cases import CASES, Case, smallest

NAMES = sorted({c.name for c in CASES if "triton" in attnlang.stdlib.info(c.name).backends})
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="runs under the interpreter")

chosen_for = pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7),
    reason="the first choices are for a newer Triton; launches take the first that does not spill",
)


def to_float(call: AttentionCall, dtype: torch.dtype = torch.float32) -> AttentionCall:
    """The call in a precision that kernels run, with gradients of all floats."""

    def one(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().to(DEVICE)
        return x.to(dtype).requires_grad_() if x.is_floating_point() else x

    q, k, v = (one(x) for x in (call.q, call.k, call.v))
    return replace(call, q=q, k=k, v=v, inputs={n: one(x) for n, x in call.inputs.items()})


def check(call: AttentionCall, tolerance: float = 2e-5) -> None:
    """`triton` computes what `reference` does in double precision."""
    exact = to_float(call, torch.float64).gradients("reference", lse=call.has_lse)
    found = to_float(call).gradients("triton", lse=call.has_lse)
    for a, b in zip(exact, found, strict=True):
        assert not b.isnan().any()
        assert torch.equal(a.isinf(), b.isinf())
        scale = max(1.0, float(a.detach().nan_to_num(0, 0, 0).abs().amax()))
        torch.testing.assert_close(b.double(), a, atol=tolerance * scale, rtol=0)


def call_of(case: Case, width: int = 16, value_width: int = 16, kv_heads: int = 1) -> AttentionCall:
    heads = max(case.heads, kv_heads)
    problem = case.attention.problem(case.sizes, heads, kv_heads=kv_heads, head_dim=width)
    generator = torch.Generator().manual_seed(0)
    shapes = (
        (heads, problem.q_len, width),
        (kv_heads, problem.k_len, width),
        (kv_heads, problem.k_len, value_width),
    )
    q, k, v = (torch.randn(1, *s, generator=generator) for s in shapes)
    return AttentionCall(case.pattern.text, case.sizes, q, k, v, case.tensors, 0, case.params)


@pytest.mark.parametrize("name", NAMES)
def test_standard_patterns(name: str) -> None:
    check(call_of(smallest(name)))


def test_a_sink_that_varies_with_the_query() -> None:
    """Padding counted by the query's place alone, alike in every image and head."""
    params = {"block": 3, "halo": 1, "edge": "zero"}
    check(call_of(Case("halo_2d", {"y": 5, "x": 7}, params, 2)))


def test_a_score_reads_several_entries_of_a_table() -> None:
    """Between two entries, as a bias at places that are not whole."""
    text = """pattern p:
    over n
    input at: float[batch, n]
    input bias: float[head, 9]
    let place = clamp(k.at - 0.1 * float(q.n), 0.0, 7.0)
    let low = floor(place)
    let share = place - float(low)
    attend where true
        score s + (1.0 - share) * bias[head, low] + share * bias[head, low + 1]
"""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 33, 16) for _ in range(3))
    inputs = {"at": 9 * torch.rand(1, 33), "bias": torch.randn(2, 9)}
    check(AttentionCall(text, {}, q, k, v, inputs, 0))


@given(calls())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(call: AttentionCall) -> None:
    check(call)


@pytest.mark.long
@given(calls())
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_programs(call: AttentionCall) -> None:
    check(call)


@pytest.mark.parametrize(("width", "value_width"), [(16, 16), (24, 40), (80, 8)])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_widths_and_groups(width: int, value_width: int, kv_heads: int) -> None:
    case = Case("sliding_window", {"n": 65}, {"window": 9}, 4)
    check(call_of(case, width, value_width, kv_heads))


@pytest.mark.parametrize("queries", [1, 15, 17])
def test_fewer_queries_than_keys(queries: int) -> None:
    text = attnlang.load("stdlib:causal").text
    q, k = torch.randn(1, 2, queries, 16), torch.randn(1, 2, 65, 16)
    check(AttentionCall(text, {}, q, k, torch.randn(1, 2, 65, 16), {}, 65 - queries))


def test_half_precision() -> None:
    case = Case("sliding_window", {"n": 130}, {"window": 33}, 2)
    call = call_of(case, 64, 64)
    exact = to_float(call, torch.float64).gradients("reference", lse=True)
    half = to_float(call, torch.float16)
    found = half.gradients("triton", lse=True)
    mask = case.pattern.mask(case.sizes, heads=2)
    q, k, v = half.q, half.k.expand(-1, 2, -1, -1), half.v.expand(-1, 2, -1, -1)
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=torch.as_tensor(mask, device=DEVICE)
    )
    error = float((found[0].double() - exact[0]).abs().max())
    theirs = float((out.double() - exact[0]).abs().max())
    assert error <= 2 * theirs + 1e-4
    assert found[0].dtype is torch.float16
    assert found[1].dtype is torch.float32


@pytest.mark.parametrize("dims", [(1, 2), (2, 3)])
def test_strided_tensors_are_read_as_they_are(dims: tuple[int, int]) -> None:
    """Tokens or features in front: where features lie apart they are brought together."""
    case = Case("causal", {"n": 40}, {}, 2)
    call = call_of(case, kv_heads=2)
    op = case.pattern.compile("triton")
    swapped = [
        x.to(DEVICE).transpose(*dims).contiguous().transpose(*dims)
        for x in (call.q, call.k, call.v)
    ]
    plain = op(call.q.to(DEVICE), call.k.to(DEVICE), call.v.to(DEVICE))
    torch.testing.assert_close(op(*swapped), plain)


def test_what_it_does_not_run_is_said() -> None:
    x = torch.randn(1, 1, 8, 16, dtype=torch.float64, device=DEVICE)
    with pytest.raises(Unsupported, match="float64"):
        attnlang.compile("stdlib:causal", backend="triton")(x, x, x)
