"""States: sequences in pieces, packed together, and one token at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from attnlang.backends.linear import State, chunkwise, recurrent, step
from tests.linear.cases import DECAYS, Case, close, draw, gradients

Tensor = torch.Tensor
KINDS = [(d, delta) for d in DECAYS for delta in (False, True)]
each_kind = pytest.mark.parametrize(("decay", "delta"), KINDS)


def in_pieces(case: Case, cuts: list[int], **more: Any) -> tuple[Tensor, State]:
    state, outs = None, []
    for i, j in pairwise(cuts):
        out, state = case.tokens(slice(i, j)).run(initial=state, **more)
        outs.append(out)
    assert state is not None
    return torch.cat(outs, 2), state


@each_kind
def test_carried_state_equals_the_whole(decay: str, delta: bool) -> None:
    """Gradients flow from piece to piece through the states."""
    case = draw(decay, delta=delta).learned()
    whole, final = case.run(chunk=8)
    pieces, last = in_pieces(case, [0, 1, 14, 30, 37], chunk=8)
    close(pieces, whole)
    close(last.s, final.s)
    wanted = gradients(case, whole, final)
    for a, b in zip(gradients(case, pieces, last), wanted, strict=True):
        close(a, b)


@each_kind
def test_gradient_of_the_initial_state(decay: str, delta: bool) -> None:
    case = draw(decay, delta=delta)
    first = torch.randn(2, 4, 5, 3, dtype=torch.float64).requires_grad_()
    grads = []
    for form in (recurrent, chunkwise):
        out, final = case.run(form, initial=State(first))
        grads += torch.autograd.grad(out.square().sum() + final.s.sin().sum(), first)
    close(grads[1], grads[0])


@each_kind
def test_packed_sequences_equal_separate_ones(decay: str, delta: bool) -> None:
    lengths = (9, 1, 27)
    segments = torch.arange(3).repeat_interleave(torch.tensor(lengths)).expand(2, -1)
    packed = draw(decay, delta=delta, segments=segments).learned()
    out, final = packed.run(chunk=8)
    alone = Case(packed.q, packed.k, packed.v, {**packed.options, "segments": None})
    at, outs = 0, []
    for length in lengths:
        one, last = alone.tokens(slice(at, at + length)).run(chunk=8)
        outs.append(one)
        at += length
    close(out, torch.cat(outs, 2))
    close(final.s, last.s)
    separate = gradients(packed, torch.cat(outs, 2), last)
    for a, b in zip(gradients(packed, out, final), separate, strict=True):
        close(a, b)


def test_the_first_segment_goes_on_from_the_initial_state() -> None:
    segments = torch.tensor([[7] * 20 + [8] * 17] * 2)
    case = draw(segments=segments)
    first = State(torch.randn(2, 4, 5, 3, dtype=torch.float64))
    found, final = case.run(initial=first)
    plain = Case(case.q, case.k, case.v, {**case.options, "segments": None})
    close(found[:, :, :20], plain.tokens(slice(20)).run(initial=first)[0])
    rest, last = plain.tokens(slice(20, 37)).run()
    close(found[:, :, 20:], rest)
    close(final.s, last.s)


@each_kind
def test_steps_equal_chunks(decay: str, delta: bool) -> None:
    case = draw(decay, delta=delta, length=11)
    whole, final = case.run(chunk=4)
    state, outs = None, []
    for t in range(11):
        out, state = case.tokens(slice(t, t + 1)).run(step, state=state)
        outs.append(out)
    assert state is not None
    close(torch.cat(outs, 2), whole)
    close(state.s, final.s)


@pytest.mark.parametrize("weights", [None, (1.0, 1.0, 0.5)], ids=["linear", "taylor"])
def test_states_with_a_denominator(weights: tuple[float, float, float] | None) -> None:
    case = draw("constant", length=30).map(torch.abs)
    case = Case(case.q, case.k, case.v, {**case.options, "decay": -case.options["decay"]})
    options: dict[str, Any] = {"normalise": "sum", "eps": 1e-3, "weights": weights}
    whole, final = case.run(**options, chunk=8)
    pieces, last = in_pieces(case, [0, 3, 20, 29], **options)
    one, last = case.tokens(slice(29, 30)).run(step, state=last, **options)
    close(torch.cat((pieces, one), 2), whole)
    assert last.z is not None
    assert final.z is not None
    close(last.z, final.z)
    close(last.s, final.s)


def test_states_are_single_precision_for_half() -> None:
    case = draw("token", dtype=torch.bfloat16)
    out, final = case.run()
    assert (out.dtype, final.s.dtype) == (torch.bfloat16, torch.float32)
    out, state = case.tokens(slice(1)).run(step, state=final)
    assert (out.dtype, state.s.dtype) == (torch.bfloat16, torch.float32)
