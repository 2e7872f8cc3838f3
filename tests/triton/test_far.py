"""Offsets beyond 2**31 elements: the interpreter's integers wrap where a kernel's would.

Tensors lie in memory of which there is only what is touched.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from attnlang.backends.linear.triton.launch import KERNELS
from tests.triton import wrong
from tests.triton.far_calls import APART, GATES, INPUTS, WALKS
from tests.triton.memory_calls import CALLS, Sample
from tests.triton.vast import WRAPS, far, reach, vast
from tests.triton.watched import Around, Given, Tensor, around_launches

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="watches Triton's interpreter"
)

DIMENSIONS = ("batch", "head", "token")
MOVED: dict[str, set[str]] = {
    "forward": {"q", "k", "v", "out"},
    "split_forward": {"q", "k", "v"},
    "query_gradient": {"q", "k", "v", "d_q"},
    "key_gradient": {"q", "k", "v", "d_k", "d_v"},
    "solve": {"k", "v", "beta"},
    "gradients": {"q", "k", "d_out"},
}
OF_KEYS = {"k", "v", "d_k", "d_v"}
WALKS_APART = (
    ("spans", DIMENSIONS),
    ("spans, by pointers", DIMENSIONS),
    ("heads together", ("head", "token")),
    ("heads of one key head", ("head",)),
    ("boxes", ("head", "token")),
    ("boxes, by pointers", ("token",)),
    ("tables", ("token",)),
    ("decoding", ("head", "token")),
    ("lists", ("token",)),
    ("linear", ("head", "token")),
)
OF_ROWS = {
    "causal, by pointers": {"lse", "delta"},
    "largest scores": {
        "lse", "delta", "top0", "part_top", "top_share0", "top_first0", "top_last0", "d_leaf0",
    },
    "decoding, rows without keys": {"lse", "delta", "met", "part_out", "part_lse", "part_met"},
    "bias by distance": {"lse", "delta", "d_leaf0"},
    "weights of tokens": {"lse", "delta", "d_leaf0", "d_leaf1"},
}  # fmt: skip


def reaching(sample: Sample, dimension: str) -> Sample:
    """With three batch elements, or three times the heads, if it is about those and there are few
    of them."""
    q, k = sample.heads
    if q > 2:
        return sample
    match dimension:
        case "batch":
            gates = {n: (3, *x[1:]) for n, x in sample.inputs.items() if n in GATES}
            return replace(sample, batch=3, inputs={**sample.inputs, **gates})
        case "head":
            gates = {n: (*x[:2], 3) for n, x in sample.inputs.items() if n in GATES}
            return replace(sample, heads=(3 * q, 3 * k), inputs={**sample.inputs, **gates})
        case _:
            return sample


def strides_of(given: Given, name: str) -> list[str]:
    """The names of the strides that a kernel is given of a tensor."""
    x = given[name]
    if not isinstance(x, Tensor):
        return []
    either = ([f"{name}{between}{d}" for d in DIMENSIONS] for between in ("_stride_", "_"))
    return next((names for names in either if names[2] in given), [])


def apart(dimension: int, moved: dict[str, set[str]]) -> Around:
    """Kernels are given tensors that lie far apart, and those strides. moved: is told which tensors
    of a kernel lie so."""

    @contextmanager
    def change(kernel: str, given: Given) -> Iterator[Given]:
        made = dict(given)
        mine = moved.setdefault(kernel, set())
        for name, x in given.items():
            if isinstance(x, TensorDescriptor):
                mine |= {name} if reach(x.base) > WRAPS else set()
            names = strides_of(given, name)
            if not names or x.shape[dimension] < 3:
                continue
            mine.add(name)
            if reach(x) < WRAPS:
                made[name] = far(x, dimension)
                for i, stride in enumerate(names):
                    made[stride] = made[name].stride(i) if x.shape[i] > 1 else given[stride]
        yield made
        for name, x in given.items():
            if made[name] is not x and isinstance(x, Tensor) and not torch.equal(x, made[name]):
                x.copy_(made[name])

    return change


def agree(sample: Sample, around: Around, change: Any = None) -> None:
    """Launches and tensors changed in a way that results do not show."""
    torch.manual_seed(0)
    plain = sample()
    torch.manual_seed(0)
    with around_launches(around):
        found = sample() if change is None else sample(change)
    assert all(torch.equal(x, y) for x, y in zip(plain, found, strict=True))


@pytest.mark.parametrize(("name", "dimension"), [(x, d) for x, which in WALKS_APART for d in which])
def test_vectors_apart(name: str, dimension: str) -> None:
    """Half the batch, heads or tokens of everything that has strides lie beyond 2**31 elements. Of
    q, k and v when the op is called, of all others when kernels are."""
    at = DIMENSIONS.index(dimension)
    moved: dict[str, set[str]] = {}

    def change(name: str, x: Tensor) -> Tensor:
        return far(x, at) if name in "qkv" and x.shape[at] > 2 else x

    sample = reaching(WALKS[name], dimension)
    agree(sample, apart(at, moved), change)
    asked = moved.keys() & MOVED.keys()
    assert len(asked) > 1
    alone = OF_KEYS if dimension == "head" and sample.heads[1] == 1 else set()
    assert all(moved[kernel] >= MOVED[kernel] - alone for kernel in asked)


@pytest.mark.parametrize(("name", "dimension"), [(x, i) for x, dims in APART.items() for i in dims])
def test_inputs_apart(name: str, dimension: int) -> None:
    """Of biases, masks and what tokens have."""
    sample, seen = INPUTS[name], set()

    @contextmanager
    def look(kernel: str, given: Given) -> Iterator[Given]:
        if any(isinstance(x, Tensor) and reach(x) > WRAPS for x in given.values()):
            seen.add(kernel)
        yield given

    agree(sample, look, lambda name, x: far(x, dimension) if name in sample.inputs else x)
    assert seen >= {"forward", "query_gradient", "key_gradient"}


ROWS = ("lse", "delta", "met", "top", "d_leaf", "part_")


def among(heads: int, seen: set[str]) -> Around:
    """Kernels are told of so many heads, and given rows of as many: the first are theirs."""

    @contextmanager
    def change(kernel: str, given: Given) -> Iterator[Given]:
        made, mine = {**given, "num_heads": heads}, {}
        for name in (n for n in given if n.startswith(ROWS) and "stride" not in n):
            x = given[name]
            at = 2 if x.dim() > 3 else 1
            shape = [*x.shape[:at], heads, *x.shape[at + 1 :]]
            strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
            made[name] = mine[name] = vast(x.shape, strides, x.dtype).copy_(x)
            seen.add(name)
        yield made
        for name, x in mine.items():
            given[name].copy_(x)

    return change


@pytest.mark.parametrize("name", OF_ROWS)
def test_rows_of_many_heads(name: str) -> None:
    """What kernels keep of each query has no strides: with 2**27 heads the last batch element's
    rows lie beyond 2**31."""
    seen: set[str] = set()
    agree(replace(CALLS[name], batch=3), among(2**27, seen))
    assert seen == OF_ROWS[name]


def test_decays_of_long_sequences() -> None:
    """Sums of decays of which 2**31 have come before."""
    a = -torch.rand(19, 16)
    found = []
    for width in (16, 2**27):
        given = vast(a.shape, (width, 1), a.dtype).copy_(a)
        sums = vast((32, 16), (width, 1), torch.float64)
        sizes = {"length": 19, "width": width, "chunks": 2, "CHUNK": 16, "BLOCK_K": 16}
        KERNELS["accumulate"][2, 1, 1](a=given, sums=sums, **sizes)
        found.append(sums.clone())
    assert torch.equal(*found)


def test_offsets_that_wrap_show() -> None:
    x = torch.arange(32.0)
    found = []
    for given in (x, far(x, 0)):
        found.append(torch.zeros(32))
        wrong.launch(given, found[-1], given.stride(0))
    assert torch.equal(found[0][:16], found[1][:16])
    assert not torch.equal(*found)
