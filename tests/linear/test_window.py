"""Heads that forget fast run as windows: the same function, the same gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.backends.linear import State, chunkwise, parts, recurrent, window
from attnlang.backends.linear.form import tokens
from tests.linear.cases import Case, close, draw, gradients

FAST = [-9.0, -2.5, -0.01, -torch.inf, -3.0, 0.0]


def with_decays(case: Case, decays: list[float]) -> Case:
    given = torch.tensor(decays, dtype=case.q.dtype)
    return Case(case.q, case.k, case.v, {**case.options, "decay": given})


def kinds(case: Case, chunk: int = 64, features: int | None = None) -> list[window.Heads]:
    x = tokens(case.q, case.k, case.v, case.options.get("decay"), None, None)
    return window.kinds(x, chunk, case.k.shape[3] if features is None else features)


def test_which_heads_are_windows() -> None:
    """In float32 a decay of -2.5 is nothing after 7 tokens, one of -0.3 after 56; -0.2 after 84."""
    case = draw("constant", heads=(6, 6, 6), width=128, value_width=128, length=300)
    case = with_decays(case.map(torch.Tensor.float), [-2.5, -9.0, -0.3, -0.2, 0.0, -torch.inf])
    found = [(h.start, h.stop, h.window) for h in kinds(case)]
    assert found == [(0, 2, 16), (2, 3, 64), (3, 5, None), (5, 6, 16)]
    found = [(h.start, h.stop, h.window) for h in kinds(case.map(torch.Tensor.double))]
    assert found == [(0, 2, 16), (2, 5, None), (5, 6, 16)]


def test_known_decays_are_not_looked_for_on_the_device() -> None:
    case = draw("constant", heads=(6, 6, 6), width=128, value_width=128, length=300)
    decays = [-2.5, -9.0, -0.3, -0.2, 0.0, -float("inf")]
    case = with_decays(case.map(torch.Tensor.float), decays)
    q, k, v, a = (x.to("meta") for x in (case.q, case.k, case.v, case.options["decay"]))
    x = tokens(q, k, v, a, None, None)
    assert window.kinds(x, 64, 128) == [window.Heads(0, 6, None)]
    assert window.kinds(x, 64, 128, decays) == kinds(case)
    segments = torch.zeros(len(q), 300, dtype=torch.int64, device="meta")
    several = tokens(q, k, v, a, None, segments)  # documents: states begin anew
    assert window.kinds(several, 64, 128, decays) == [window.Heads(0, 6, None)]


def test_a_pattern_tells_its_decays(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that varies with heads by numbers of the pattern; a learned one is the call's."""
    told: list[object] = []
    plain = window.kinds

    def spy(x: object, chunk: int, features: int, decays: object = None) -> object:
        told.append(decays)
        return plain(x, chunk, features, decays)  # type: ignore[arg-type]

    monkeypatch.setattr(window, "kinds", spy)
    text = "pattern p:\n    over n\n{}    attend linear where causal(n)\n        decay {}\n"
    learned = "    input a: float[head] nonpositive\n"
    q, k, v = (torch.randn(1, h, 9, 4) for h in (4, 2, 2))
    for decay, extra, wanted in (
        ("-float(head + 1)", "", (-1.0, -2.0, -3.0, -4.0)),
        ("-0.5 * float(kv_head)", "", (0.0, 0.0, -0.5, -0.5)),
        ("-1.0", "", (-1.0,) * 4),
        ("a[head]", learned, None),
    ):
        op = attnlang.parse(text.format(extra, decay)).compile("blocked")
        op(q, k, v, **({"a": torch.full((4,), -1.0)} if extra else {}))
        assert told.pop() == wanted


def test_a_state_is_cheaper_where_it_is_small() -> None:
    case = draw("constant", heads=(1, 1, 1), width=8, value_width=8, length=300)
    case = with_decays(case, [-9.0])
    assert kinds(case)[0].window is None
    assert kinds(case, features=99)[0].window == 16
    assert kinds(draw("token", length=300))[0].window is None


def check(case: Case, state: torch.Tensor | None = None, chunk: int = 32, **more: object) -> None:
    """Against the loop; and windows did run."""
    features = 999 if "weights" in more else None
    assert any(h.window for h in kinds(case, chunk, features))
    case = case.learned()
    first = None if state is None else State(state.requires_grad_())
    looped, kept = case.run(recurrent, initial=first, **more)
    found, final = case.run(initial=first, chunk=chunk, **more)
    close(found, looped, 1e-11)
    close(final.s, kept.s, 1e-11)
    wanted = gradients(case, looped, kept)
    for a, b in zip(gradients(case, found, final), wanted, strict=True):
        close(a, b, 1e-10)
    if first is not None:
        slopes = [
            torch.autograd.grad(x.sin().sum() + y.s.square().sum(), first.s)[0]
            for x, y in ((found, final), (looped, kept))
        ]
        close(slopes[0], slopes[1], 1e-11)


@pytest.mark.parametrize("heads", [(6, 6, 6), (6, 2, 6), (2, 6, 6), (6, 3, 3)])
@pytest.mark.parametrize("length", [65, 96, 150])
def test_the_same_function(heads: tuple[int, int, int], length: int) -> None:
    """Windows beside states, heads that are shared, ragged tails, an initial state."""
    case = draw("constant", heads=heads, length=length, width=36, value_width=40)
    case = with_decays(case, FAST[:: 6 // heads[2]])
    check(case, torch.randn(2, 6, 36, 40, dtype=torch.float64))


def test_one_decay_for_all_heads() -> None:
    case = draw("constant", heads=(4, 2, 1), length=100, width=36, value_width=40)
    check(with_decays(case, [-4.0]))


@pytest.mark.parametrize("causal", [True, False])
def test_polynomials_and_denominators(causal: bool) -> None:
    case = draw("constant", heads=(2, 2, 2), length=100, width=36, value_width=40)
    case = with_decays(case.map(torch.abs), [-5.0, -2.5])
    check(case, weights=(1.0, 1.0, 0.5), normalise="sum", eps=1e-3, causal=causal)


@given(
    decays=st.lists(st.floats(-40, 0), min_size=1, max_size=3),
    length=st.integers(49, 200),
    chunk=st.sampled_from([16, 24, 64]),
    bytes_of_a_part=st.integers(1, 10**6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_decays(
    decays: list[float], length: int, chunk: int, bytes_of_a_part: int, seed: int
) -> None:
    """float32, in parts of any size: rounding is all that differs from the loop."""
    heads = len(decays)
    case = draw(
        "constant", heads=(heads, 1, heads), length=length, width=32, value_width=32, seed=seed
    )
    case = with_decays(case, decays).map(torch.Tensor.float)
    exact, ours = case.map(torch.Tensor.double).learned(), case.learned()
    truth, state = exact.run(recurrent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "CPU_PART_BYTES", bytes_of_a_part)
        found, final = ours.run(chunk=chunk)
        slopes = gradients(ours, found, final)
    for a, b in zip(
        (found, final.s, *slopes), (truth, state.s, *gradients(exact, truth, state)), strict=True
    ):
        size = max(1.0, float(b.detach().abs().max()))
        # A decay's gradient adds up what every pair says of it, of both signs.
        torch.testing.assert_close(a.double(), b, atol=3e-5 * size, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    """Twice the error of the loop at most, from the same rounded tensors."""
    case = draw("constant", heads=(2, 1, 2), length=150, width=36, value_width=40)
    case = with_decays(case.map(lambda x: x.to(dtype)), [-3.0, -2.5])
    exact, ours, loop = (
        case.map(f).learned() for f in (torch.Tensor.double, torch.clone, torch.clone)
    )
    results = []
    for one, form in ((exact, recurrent), (ours, chunkwise), (loop, recurrent)):
        out, final = one.run(form)
        results.append([out, final.s, *gradients(one, out, final)])
    for truth, a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        found, theirs = ((x.double() - truth).detach().square().mean().sqrt() for x in (a, b))
        assert found <= 2 * theirs + 1e-6 * truth.detach().abs().max()
