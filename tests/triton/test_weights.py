"""Weights that are no plain softmax: other divisors, gains, largest values of rows, erf."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.triton import amounts
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import Normaliser
from attnlang.compiler.ir.program import attentions
from attnlang.compiler.ir.traverse import walk
from tests.backends.calls import AttentionCall
from tests.stdlib.composed_cases import CASES, Case
from tests.triton.test_attention import DEVICE, check, to_float

CAUSAL = "attend where causal(n)"
CLAUSES: dict[str, tuple[str, ...]] = {
    "the sum": ("score exp(s)", "normalise sum"),
    "the number of keys": ("score max(s, 0.0)", "normalise count"),
    "nothing": ("score tanh(s)", "normalise none"),
    "nothing, unedited": ("normalise none",),
    "a gain": ("gain 1.0 / float(1 + abs(q.n - k.n))",),
    "a gain of heads": ("gain 0.5 * float(1 + head)", "softcap 1.5"),
    "a gain and a sink": ("sink 0.3 * float(head)", "gain float(k.n % 3)"),
    "a gain over the sum": ("score exp(s)", "normalise sum", "gain float(q.n - k.n)"),
    "a gain over the count": ("score s * s", "normalise count", "gain float(head + k.n % 2)"),
    "a scale of heads": ("scale 0.2 + 0.1 * float(head)", "normalise none"),
    "erf": ("score 0.5 * s * (1.0 + erf(s / sqrt(2.0)))",),
    "the largest": ("score s + 0.3 * row_max(s) * exp(-0.1 * float(abs(q.n - k.n)))",),
    "below the largest": ("score row_max(s) - s",),
    "the largest of places": ("score 0.1 * s * row_max(float((q.n + k.n) % 7))",),
    "the largest magnitude": ("score s / (1.0 + row_max(abs(s)))", "normalise count"),
    "several largest": ("score s * row_max(tanh(s)) - row_max(s - 0.5 * row_max(tanh(s)))",),
    "several keys have the largest": ("score s * row_max(min(s, 0.2))",),
    "all in one": (
        "score exp(s - erf(row_max(s)) * tanh(s))", "normalise sum", "gain 1.0 + 0.1 * float(k.n % 2)",
    ),
}  # fmt: skip

WALKED = (
    "the sum", "the number of keys", "nothing", "a gain", "a gain and a sink", "the largest",
    "all in one",
)  # fmt: skip
"""One of each kind, where kinds of walks are asked about."""


def text_of(attend: str, lines: tuple[str, ...], declared: tuple[str, ...] = ()) -> str:
    above = "".join(f"    input {x}\n" for x in declared)
    below = "".join(f"        {x}\n" for x in lines)
    return f"pattern p:\n    over n\n{above}    {attend}\n{below}"


def call_of(
    text: str, queries: int = 37, keys: int = 37, heads: int = 4, kv_heads: int = 2,
    inputs: dict[str, Any] | None = None, width: int = 16, value_width: int = 24,
) -> AttentionCall:  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, queries, width), (kv_heads, keys, width), (kv_heads, keys, value_width))
    q, k, v = (torch.randn(2, *s, generator=generator) for s in shapes)
    return AttentionCall(text, {}, q, k, v, inputs or {}, keys - queries)


@pytest.mark.parametrize("name", CLAUSES)
def test_walks_worked_out_in_the_kernel(name: str) -> None:
    check(call_of(text_of(CAUSAL, CLAUSES[name])))


@pytest.mark.parametrize("name", WALKED)
def test_walks_over_tables(name: str) -> None:
    """Residues along a line: tiles of the layout's own order."""
    attend = "attend where (q.n - k.n) % 3 == 0"
    check(call_of(text_of(attend, CLAUSES[name])))


@pytest.mark.parametrize("name", WALKED)
def test_rows_without_keys(name: str) -> None:
    attend = "attend where q.n % 5 != 2 and k.n <= q.n - 3"
    check(call_of(text_of(attend, CLAUSES[name])))


@pytest.mark.parametrize("rule", ["self", "full"])
@pytest.mark.parametrize("name", ["the number of keys", "a gain", "the largest magnitude"])
def test_rules_for_rows_without_keys(name: str, rule: str) -> None:
    attend = f"attend where k.n < q.n - 5 empty {rule}"
    check(call_of(text_of(attend, CLAUSES[name])))


@pytest.mark.parametrize("name", ["the sum", "a gain", "several largest"])
def test_several_tiles(name: str) -> None:
    check(call_of(text_of(CAUSAL, CLAUSES[name]), 141, 141, 2, 1))


@pytest.mark.parametrize("name", WALKED)
def test_shared_walks(name: str, monkeypatch: pytest.MonkeyPatch, launched: list[Any]) -> None:
    """Few queries against many keys."""
    monkeypatch.setattr(amounts, "FEWEST_KEYS", 16)
    monkeypatch.setattr(amounts, "IDLE", 64)
    check(call_of(text_of(CAUSAL, CLAUSES[name]), 5, 90, 4, 2))
    names = [x[0] for x in launched]
    assert {"split_forward", "merge"} <= set(names)
    assert all(grid[2] > 1 for name, _, grid in launched if name.startswith("row_max0"))


@pytest.mark.parametrize("name", ["the sum", "the number of keys", "a gain", "the largest"])
def test_boxes_of_keys(name: str) -> None:
    lines = [x.replace("q.n", "q.x").replace("k.n", "k.x") for x in CLAUSES[name]]
    text = text_of("attend where near(y, 3) and near(x, 3)", tuple(lines))
    call = call_of(text.replace("over n", "over y, x"), 35, 35)
    check(replace(call, sizes={"y": 5, "x": 7}))


@pytest.mark.parametrize("name", ["the number of keys", "nothing", "a gain", "the largest"])
def test_groups_of_heads_of_unlike_kinds(name: str) -> None:
    lines = "".join(f"            {x}\n" for x in CLAUSES[name])
    groups = "    heads[:1]:\n        attend where band(n, 5)\n    heads[1:]:\n"
    text = f"pattern p:\n    over n\n{groups}        attend where causal(n)\n{lines}"
    check(call_of(text))


def test_sets_that_a_program_chose() -> None:
    """Key blocks for each key head: their weights are the products themselves."""
    text = """pattern p:
    over n
    part b = blocks(n, 8)
    pool kb[b] = mean(k)
    select chosen[kv_head, n, b] from q, kb where k.b * 8 <= q.n
        top 2
    attend where chosen[kv_head, q.n, k.n // 8] and causal(n) empty zero
        score max(s, 0.0)
        normalise count
"""
    check(call_of(text))


LEARNED: dict[str, tuple[tuple[str, ...], dict[str, tuple[int, ...]], tuple[str, ...]]] = {
    "a bias of weights": (
        ("M: float[head, n, n]", "alpha: float[head]"),
        {"M": (4, 37, 37), "alpha": (4,)},
        ("score alpha[head] * tanh(s) + M[head, k.n, q.n]", "normalise none"),
    ),
    "a bias by distance": (
        ("bias: float[head, 9]",), {"bias": (4, 9)},
        ("score exp(s + bias[head, clamp(q.n - k.n, 0, 8)])", "normalise sum"),
    ),
    "gains by distance": (
        ("by: float[9]",), {"by": (9,)}, ("gain by[clamp(q.n - k.n, 0, 8)]", "softcap 2.0"),
    ),
    "gains of tokens": (
        ("w: float[batch, n, head]",), {"w": (2, 37, 4)},
        ("score s + 0.1 * q.w", "normalise count", "gain q.w * k.w"),
    ),
    "gains of heads": (("w: float[head]",), {"w": (4,)}, ("gain exp(w[head])",)),
    "the largest of learned scores": (
        ("w: float[batch, n]", "bias: float[head, 9]"), {"w": (2, 37), "bias": (4, 9)},
        ("score s + row_max(s * k.w + bias[head, clamp(q.n - k.n, 0, 8)]) * tanh(s) * q.w",),
    ),
    "a learned share of the largest": (
        ("share: float[head]",), {"share": (4,)}, ("score s * sigmoid(share[head] * row_max(s))",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_of_inputs(name: str) -> None:
    declared, shapes, lines = LEARNED[name]
    generator = torch.Generator().manual_seed(1)
    inputs = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    check(call_of(text_of(CAUSAL, lines, declared), inputs=inputs))


@pytest.mark.parametrize("alike", [2, 3, 37])
def test_equal_keys_share_the_slope_of_the_largest(alike: int) -> None:
    """Keys that are the same vector, apart from each other: the score's order of sums decides
    nothing."""
    call = call_of(text_of("attend where true", CLAUSES["the largest"]))
    k, q = call.k.clone(), call.q.clone()
    at = torch.arange(0, 37, 36 // (alike - 1))
    assert len(at) == alike
    k[:, :, at] = 3.0
    q = q.abs()
    check(replace(call, q=q, k=k))


def test_infinite_slopes_where_nothing_attends_are_no_slopes() -> None:
    lines = ("score 1.0 / float(q.n - k.n) * s", "normalise count", "gain 1.0 / float(q.n - k.n)")
    check(call_of(text_of("attend where k.n < q.n", lines), 35, 35))


def test_there_is_no_lse() -> None:
    op = attnlang.parse(text_of(CAUSAL, CLAUSES["the sum"])).compile("triton")
    x = torch.randn(1, 2, 9, 16, device=DEVICE)
    with pytest.raises(ValueError, match="no lse"):
        op(x, x, x, return_lse=True)


def dense(name: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """By torch operations in the tensors' own precision."""
    s = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    seen = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()
    if name in ("the sum", "the number of keys"):
        w = s.exp() if name == "the sum" else s.relu()
        w = torch.where(seen, w, 0.0)
        by = w.sum(-1, keepdim=True) if name == "the sum" else seen.sum(-1, keepdim=True)
        return (w / by).to(v.dtype) @ v
    at = torch.arange(s.shape[-1], device=s.device)
    away = (at[:, None] - at).abs()
    if name == "a gain":
        p = torch.where(seen, s, -torch.inf).softmax(-1)
        return (p / (1 + away).to(p.dtype)) @ v
    top = torch.where(seen, s, -torch.inf).amax(-1, keepdim=True)
    s = s + 0.3 * top * torch.exp(-0.1 * away.to(s.dtype))
    return torch.where(seen, s, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("name", ["the sum", "the number of keys", "a gain", "the largest"])
def test_half_precision(name: str) -> None:
    """At most twice the error of dense operations in the same precision."""
    call = call_of(text_of(CAUSAL, CLAUSES[name]), 130, 130, 2, 2, width=64, value_width=64)
    half = to_float(call, torch.float16)
    exact = dense(name, *(x.double() for x in (half.q, half.k, half.v)))
    found, _ = half.run("triton", lse=False)
    theirs = float((dense(name, half.q, half.k, half.v).double() - exact).detach().abs().max())
    assert found.dtype is torch.float16
    assert float((found.double() - exact).detach().abs().max()) <= 2 * theirs + 1e-4


def reads_more_than_softmax(case: Case) -> bool:
    program = case.pattern.ir.program
    every = attentions(program) if program is not None else (case.pattern.ir,)
    attends = [group.attend for one in every for group in one.groups]
    scores = [x for a in attends if a.score is not None for x in walk(a.score)]
    functions = {x.function for x in scores if isinstance(x, e.Apply)}
    plain = all(a.gain is None and a.normaliser is Normaliser.SOFTMAX for a in attends)
    return not plain or bool(functions & {"row_max", "erf"})


PUBLISHED = {case.name: case for case in CASES if reads_more_than_softmax(case)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_patterns(name: str) -> None:
    """Outputs and gradients of papers' methods, programs too."""
    case = PUBLISHED[name]
    given = case.call
    q, k, v = (torch.from_numpy(x) for x in (given.q, given.k, given.v))
    inputs = {n: torch.from_numpy(x) for n, x in given.inputs.items()}
    call = AttentionCall(case.pattern.text, case.sizes, q, k, v, inputs, 0, case.params)
    exact = to_float(call, torch.float64).gradients("reference", lse=False)
    found = to_float(call).gradients("triton", lse=False)
    for a, b in zip(exact, found, strict=True):
        scale = max(1.0, float(a.detach().abs().amax()))
        torch.testing.assert_close(b.double(), a, atol=2e-5 * scale, rtol=0)
