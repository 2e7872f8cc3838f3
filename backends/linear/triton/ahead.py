"""Kernels of linear attention compiled for a machine that need not be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.backends.linear.triton.launch import (
    CHOICES,
    EXACTLY,
    FIRST,
    KERNELS,
    Choice,
    Launch,
    Sequence,
    decay_sums,
)
from attnlang.backends.linear.triton.launch import (
    WHOLE as WHOLE,
)
from attnlang.backends.triton.ahead import Built, Compiled, best, built
from attnlang.backends.triton.target import Target

Tensor = torch.Tensor
_TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}


@dataclass(frozen=True, slots=True)
class Class:
    """Which kernels a linear attention runs, and with what constants.

    width, value_width: channels of keys and values as kernels meet them: features of a polynomial,
    a column of ones beside the values. by_channel: has every channel a decay? delta: is it the
    delta rule's?
    """

    width: int
    value_width: int
    dtype: torch.dtype
    by_channel: bool
    delta: bool


def compile_kernels(target: Target, of: Class) -> list[Compiled]:
    """Every kernel of one class, forwards and backwards, each launch of it with the first choice
    that fits all its launches; where all spill, with the one that spills least.

    Needs a process in which Triton does not interpret. Raises Unsupported when one does not fit.
    """
    names = dict.fromkeys(x.kernel for x in launches(of, FIRST, target.backend))
    return [x for name in names for x in _first_that_fits(name, target, of)]


def _first_that_fits(name: str, target: Target, of: Class) -> list[Compiled]:
    def given(choice: Choice) -> list[Launch]:
        every = launches(of, FIRST | {name: choice}, target.backend)
        return [x for x in every if x.kernel == name]

    def made(choice: Choice) -> list[Built]:
        return [_built(x, target) for x in given(choice)]

    choice, found, dropped = best(name, target, CHOICES[name], made)
    return [
        Compiled(name, choice, _constants(x), one, dropped)
        for x, one in zip(given(choice), found, strict=True)
    ]


def launches(of: Class, choices: Mapping[str, Choice], backend: str) -> Iterator[Launch]:
    """Those of a forward and a backward pass, on tensors without memory."""

    def room(columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(1, 1, 4096, columns, dtype=dtype, device="meta")

    q, k, v = (room(n, of.dtype) for n in (of.width, of.width, of.value_width))
    sums, fill = decay_sums(room(of.width if of.by_channel else 1), choices["accumulate"])
    yield fill
    beta = room(1) if of.delta else None
    x = Sequence(q, k, v, sums, beta, 1, 1.0, choices, EXACTLY[backend])
    first, states, values, w = x.states()[:, :, 0], x.states(), x.values(), x.keys()
    pairs = None if x.direct else x.pairs()
    if pairs is not None:
        yield x.weigh(pairs)
    if of.delta:
        yield x.solve(x.pairs(), x.pairs(), values, w)
        yield x.delta_scan(values, w, first, states, first, values)
        yield x.delta_scan_back(v, values, w, first, states, first, values)
        yield x.meet(k, q, v, values, states=None, pairs=pairs, back=True)
    else:
        yield x.scan(k, v, first, states, first, back=False)
        yield x.scan(q, v, first, states, first, back=True)
        yield x.meet(k, q, v, values, states=states, pairs=pairs, back=True)
    written = values if of.delta else v
    yield x.meet(q, k, written, v, states=states, pairs=pairs)
    yield x.gradients(written, states, states, v, values, (w, w, w))


def _constants(launch: Launch) -> dict[str, Any]:
    parameters = KERNELS[launch.kernel].params
    return {x.name: launch.given[x.name] for x in parameters if x.is_constexpr}


def _built(launch: Launch, target: Target) -> Built:
    kernel = KERNELS[launch.kernel]
    signature: dict[str, str] = {}
    aligned: dict[tuple[int], list[list[object]]] = {}
    for i, parameter in enumerate(kernel.params):
        match launch.given[parameter.name]:
            case _ if parameter.is_constexpr:
                signature[parameter.name] = "constexpr"
            case Tensor() as x:
                signature[parameter.name] = _TYPES[x.dtype]
                aligned[i,] = [["tt.divisibility", 16]]
            case float():
                signature[parameter.name] = "fp32"
            case x:
                signature[parameter.name] = "i32"
                if x % 16 == 0:
                    aligned[i,] = [["tt.divisibility", 16]]
    return built(kernel, signature, _constants(launch), aligned, launch.options, target)
