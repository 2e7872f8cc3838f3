"""The kernels of linear attention: the recurrence's outputs, states and gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from triton.runtime.errors import OutOfResources

import attnlang
from attnlang.backends.linear import State, chunkwise, prefix_softmax, recurrent
from attnlang.backends.linear.triton import attend as linear_attend
from attnlang.backends.linear.triton import launch
from attnlang.backends.support import supporting
from attnlang.compiler.diagnostics.model import Unsupported
from tests.linear.cases import DECAYS, Case, draw, gradients
from tests.stdlib.recurrent_cases import CASES

Tensor = torch.Tensor
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
each_kind = pytest.mark.parametrize(
    ("decay", "delta"), [(d, delta) for d in DECAYS for delta in (False, True)]
)


def small(decay: str, delta: bool, **options: Any) -> Case:
    defaults: dict[str, Any] = {"batch": 1, "heads": (2, 1, 2), "dtype": torch.float32}
    return draw(decay, delta=delta, **{**defaults, **options}).map(lambda x: x.to(DEVICE))


def results(case: Case, form: Any, state: Tensor | None, **more: Any) -> list[Tensor]:
    """Output, final state, gradients."""
    case = case.learned()
    first = None if state is None else State(state.clone().requires_grad_())
    out, final = case.run(form, initial=first, **more)
    grads = gradients(case, out, final)
    if first is not None:
        grads += torch.autograd.grad(out.sum() + final.s.sum(), first.s)
    return [out, final.s, *grads]


def check(case: Case, state: Tensor | None = None, tolerance: float = 2e-5, **more: Any) -> None:
    """The kernels' are those of the loop in double precision, the largest entry being 1."""
    wide = None if state is None else state.double()
    wanted = results(case.map(torch.Tensor.double), recurrent, wide, **more)
    found = results(case, chunkwise, state, engine="triton", **more)
    for a, b in zip(found, wanted, strict=True):
        assert a.isfinite().all()
        scale = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a.double(), b, atol=tolerance * scale, rtol=0)


@each_kind
def test_all_at_once(decay: str, delta: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed sequences, a ragged tail and an initial state, in several chunks."""
    monkeypatch.setattr(launch, "CHUNK", 16)
    segments = torch.tensor([[3] * 5 + [4] + [5] * 13], device=DEVICE)
    state = torch.randn(1, 2, 5, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    check(small(decay, delta, length=19, segments=segments), state)


@given(
    decay=st.sampled_from(DECAYS),
    delta=st.booleans(),
    length=st.integers(1, 40),
    chunk=st.sampled_from([16, 32]),
    cut=st.integers(0, 40),
    starts=st.sets(st.integers(0, 39), max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_chunks_pieces_and_packing_change_nothing(
    decay: str, delta: bool, length: int, chunk: int, cut: int, starts: set[int], seed: int
) -> None:
    """In two pieces, the second from the state of the first, either of which may be empty."""
    first = torch.zeros(1, length, dtype=torch.long, device=DEVICE)
    first[0, [s for s in starts if s < length]] = 1
    segments = first.cumsum(1)
    case = small(decay, delta, length=length, segments=segments, seed=seed, heads=(1, 1, 1))
    truth, last = case.map(torch.Tensor.double).run(recurrent)
    cut = min(cut, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "CHUNK", chunk)
        head, state = case.tokens(slice(cut)).run(engine="triton")
        if 0 < cut < length and segments[0, cut - 1] != segments[0, cut]:
            state = None  # a document of its own
        tail, final = case.tokens(slice(cut, length)).run(engine="triton", initial=state)
    found = torch.cat((head, tail), 2)
    torch.testing.assert_close(found.double(), truth, atol=1e-5, rtol=0)
    torch.testing.assert_close(final.s.double(), last.s, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("decay", "delta"), [("constant", False), ("channel", True)])
@pytest.mark.parametrize("length", [1, 64, 65])
def test_lengths(decay: str, delta: bool, length: int) -> None:
    check(small(decay, delta, length=length, heads=(1, 1, 1)))


@pytest.mark.parametrize(("width", "value_width"), [(80, 16), (17, 70)])
@pytest.mark.parametrize(("decay", "delta"), [("token", False), ("channel", True)])
def test_widths(decay: str, delta: bool, width: int, value_width: int) -> None:
    """More channels than a block has, and fewer."""
    check(small(decay, delta, length=20, width=width, value_width=value_width, heads=(1, 1, 1)))


class Small:
    """A kernel on a device with room for narrow blocks alone. ran: with which, 0 where it did not."""

    def __init__(self, kernel: Any, block: int, ran: list[tuple[str, int]]) -> None:
        self.kernel, self.block, self.ran = kernel, block, ran

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(**given: Any) -> None:
            block = max(given.get(name, 1) for name in ("BLOCK_K", "BLOCK_V"))
            if block > self.block:
                self.ran.append((self.kernel.__name__, 0))
                raise OutOfResources(block << 10, self.block << 10, "shared memory")
            self.ran.append((self.kernel.__name__, block))
            self.kernel[grid](**given)

        return run


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the device room for blocks of so many channels, and tells which kernels ran."""
    ran: list[tuple[str, int]] = []
    monkeypatch.setattr(linear_attend, "_fitting", {})
    kernels = dict(launch.KERNELS)

    def shrink(block: int) -> list[tuple[str, int]]:
        for name, kernel in kernels.items():
            monkeypatch.setitem(launch.KERNELS, name, Small(kernel, block, ran))
        return ran

    return shrink


@pytest.mark.parametrize(("decay", "delta"), [("token", False), ("channel", True)])
def test_what_fits_is_launched(decay: str, delta: bool, device: Any) -> None:
    """Output and gradients, from blocks that are narrower than the first choices'."""
    ran = device(32)
    case = small(decay, delta, length=20, width=40, value_width=40, heads=(1, 1, 1))
    if delta:  # its scans hold all of a key
        case = small(decay, delta, length=20, width=20, value_width=40, heads=(1, 1, 1))
    check(case)
    assert max(block for _, block in ran) == 32
    kept = list(linear_attend._fitting.values())
    assert len(kept) == 1
    assert kept[0]["meet"].block == 32
    assert min(block for _, block in ran) == 0
    ran.clear()
    check(case)
    assert 0 not in {block for _, block in ran}, "what does not fit is not tried again"


def test_what_never_fits_is_refused(device: Any) -> None:
    device(8)
    wanted = r"`scan` does not fit .* need 16384 of 8192 \(shared memory\)"
    with pytest.raises(Unsupported, match=wanted):
        small("token", False, length=20, width=40, heads=(1, 1, 1)).run(engine="triton")


@pytest.mark.parametrize("heads", [(4, 2, 1), (1, 2, 2), (2, 2, 4)])
def test_heads_that_are_shared(
    heads: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "CHUNK", 16)
    check(small("token", heads[2] == 2, heads=heads, batch=2, length=3))


@each_kind
def test_decays_that_forget_everything(
    decay: str, delta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing overflows, and what stands beside a strong decay is as exact as ever."""
    monkeypatch.setattr(launch, "CHUNK", 16)
    case = small(decay, delta, length=20, strength=0.1)
    if "decay" in case.options:
        weak = case.options["decay"]
        here = torch.rand(weak.shape, generator=torch.Generator().manual_seed(3)).to(DEVICE)
        for below, strength in ((0.4, -30.0), (0.3, -3000.0), (0.2, -torch.inf), (0.1, 0.0)):
            weak = torch.where(here < below, strength, weak)
        case.options["decay"] = weak
    check(case)


def test_a_strong_decay_leaves_no_rounding_behind() -> None:
    """Differences of cumulative sums would be wrong by their last bits: here about 1e-3."""
    case = small("token", False, length=64, heads=(1, 1, 1))
    decay = torch.full((1, 1, 64), -0.01, device=DEVICE)
    decay[..., :40] = -100.0
    case.options["decay"] = decay
    check(case, tolerance=1e-6)


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(
    decay: str, delta: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the error of the torch engine at most, from the same rounded tensors."""
    monkeypatch.setattr(launch, "CHUNK", 16)
    case = small(
        decay, delta, length=24, heads=(1, 1, 1), width=16, value_width=16, strength=0.2,
        dtype=dtype,
    )  # fmt: skip
    truth = results(case.map(torch.Tensor.double), recurrent, None)
    theirs = results(case, chunkwise, None)
    found = results(case, chunkwise, None, engine="triton")
    for t, a, b in zip(truth, found, theirs, strict=True):
        assert a.dtype == b.dtype
        size = float(t.detach().abs().max())
        error, allowed = (float((x.double() - t).detach().square().mean().sqrt()) for x in (a, b))
        # What meets in a matrix product is rounded to the tensors' precision first.
        assert error <= 2 * allowed + torch.finfo(dtype).eps * size


@pytest.mark.parametrize("causal", [True, False])
def test_polynomials_denominators_and_both_sides(causal: bool) -> None:
    case = small("constant", False, length=20)
    positive = Case(case.q.abs(), case.k.abs(), case.v, case.options)
    more: dict[str, Any] = {"weights": (1.0, 1.0, 0.5), "normalise": "sum", "eps": 1e-3}
    check(positive, causal=causal, **more)


def test_softmax_over_prefixes() -> None:
    generator = torch.Generator().manual_seed(2)
    s, v = (torch.randn(1, 2, 20, *w, generator=generator).to(DEVICE) for w in ((), (3,)))
    segments = torch.tensor([[0] * 7 + [1] * 13], device=DEVICE)
    found = []
    for engine, dtype in (("torch", torch.float64), ("triton", torch.float32)):
        leaves = [x.to(dtype).requires_grad_() for x in (10 * s, v)]
        out, last = prefix_softmax(*leaves, segments=segments, engine=engine)
        slopes = torch.autograd.grad(out.square().sum() + last.w.sum(), leaves)
        found.append([out, last.u, last.w, *slopes])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b.double(), a, atol=1e-5, rtol=1e-5)


def test_nothing_to_attend() -> None:
    case = small("channel", True, length=0)
    out, final = case.run(engine="triton")
    assert out.shape == (1, 2, 0, 3)
    assert not final.s.any()


def test_tensors_that_are_no_rows() -> None:
    case = small("token", True, length=20)
    turned = [x.mT.contiguous().mT for x in (case.q, case.k, case.v)]
    check(Case(*turned, case.options))
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (case.q, case.k, case.v)]
    check(Case(*apart, case.options))


PROGRAM = """
pattern p:
    over n
    input doc: int[batch, n] sorted
    input a: float[batch, n, head] nonpositive
    input beta: float[batch, n, head]
    keys = normalize(k)
    heads[:1]:
        attend where causal(n) and q.doc == k.doc
    heads[1:3]:
        attend linear q, keys, v where causal(n) and q.doc == k.doc
            decay k.a
            delta k.beta
    heads[3:]:
        attend linear where causal(n)
            decay -1.0 / float(head)
"""


def test_programs_with_linear_attention() -> None:
    """Some heads linear, others not: outputs, states, gradients."""
    pattern = attnlang.parse(PROGRAM)
    assert "triton" in supporting(pattern.ir)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, 9, 16, generator=generator).to(DEVICE) for h in (4, 4, 4))
    a = -torch.rand(1, 9, 4, generator=generator).to(DEVICE)
    given = {
        "doc": torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1]], device=DEVICE),
        "a": a,
        "beta": a.neg(),
    }
    op = pattern.compile("triton")
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out, state = op(*leaves, return_state=True, **given)
    wide = [x.double().requires_grad_() for x in (q, k, v)]
    exact = {n: x.double() if x.is_floating_point() else x for n, x in given.items()}
    wanted, kept = pattern.compile("reference")(*wide, return_state=True, **exact)
    torch.testing.assert_close(out.double(), wanted, atol=1e-5, rtol=0)
    for name, last in kept.items():
        torch.testing.assert_close(state[name].s.double(), last.s, atol=1e-5, rtol=0)
    for x, y in zip(leaves, wide, strict=True):
        (found,) = torch.autograd.grad(out.square().sum(), x, retain_graph=True)
        (slope,) = torch.autograd.grad(wanted.square().sum(), y, retain_graph=True)
        torch.testing.assert_close(found.double(), slope, atol=1e-4, rtol=0)


BY_NAME = {c.name: c for c in CASES if "triton" in supporting(c.pattern.ir)}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_standard_patterns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What their papers say, from float32, with two documents."""
    monkeypatch.setattr(launch, "CHUNK", 16)
    case = BY_NAME[name]
    qkv, inputs = case.draw(7, batch=1)
    single = [x.float().to(DEVICE) for x in qkv]
    given = {n: x.float().to(DEVICE) for n, x in inputs.items()}
    doc = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    out = case.pattern.compile("triton")(*single, **given, doc=doc.to(DEVICE))
    wanted = torch.from_numpy(case.expected(qkv, inputs, doc.numpy()))
    torch.testing.assert_close(out.double().cpu(), wanted, atol=2e-5, rtol=2e-5)


def test_what_is_refused() -> None:
    with pytest.raises(Unsupported, match="float64"):
        small("token", False, dtype=torch.float64).run(engine="triton")
    with pytest.raises(Unsupported, match="more than 256 channels"):
        small("token", True, width=257).run(engine="triton")


COMPILE = """
import json, sys, torch
from attnlang.backends.linear.triton.ahead import Class, compile_kernels
from attnlang.backends.triton.target import target
width, by_channel, delta = json.loads(sys.argv[1])
made = compile_kernels(target("cuda:90"), Class(width, width, torch.bfloat16, by_channel, delta))
print(json.dumps([[x.kernel, x.built.spills] for x in made]))
"""


def spills(width: int, by_channel: bool, delta: bool) -> list[tuple[str, int]]:
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps([width, by_channel, delta])],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(name, count) for name, count in json.loads(done.stdout)]


def test_kernels_for_a_machine_that_is_not_here() -> None:
    made = spills(64, False, False)
    names = [name for name, _ in made]
    assert names == ["accumulate", "scan", "scan", "meet", "meet", "gradients"]
    assert not any(count for _, count in made)


@pytest.mark.long
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("delta", [False, True])
def test_no_kernel_spills(width: int, by_channel: bool, delta: bool) -> None:
    assert not any(count for _, count in spills(width, by_channel, delta))
