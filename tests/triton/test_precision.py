"""Errors against float64 beside those of PyTorch's own attention in the same precision.

Of every standard pattern that only says which pairs attend: there both compute the same.
"""

from __future__ import annotations

import functools

import pytest
import torch

import attnlang
from tests.backends.calls import AttentionCall
from tests.stdlib.cases import CASES, smallest
from tests.triton.test_attention import DEVICE, call_of, to_float

DTYPES = [torch.float16, *([torch.float32, torch.bfloat16] if DEVICE == "cuda" else [])]
"""Under the interpreter float32 is held to the reference elsewhere, and bfloat16 is wrong."""


def only_says_who_attends(name: str) -> bool:
    pattern = attnlang.load(f"stdlib:{name}").ir
    plain = pattern.program is None and all(
        (x.score, x.scale, x.sink, x.gain, x.normaliser) == (None, None, None, None, "softmax")
        for x in (group.attend for group in pattern.groups)
    )
    return plain and "triton" in attnlang.stdlib.info(name).backends


NAMES = sorted(filter(only_says_who_attends, {c.name for c in CASES}))


@functools.cache
def exact(name: str) -> tuple[AttentionCall, torch.Tensor, list[torch.Tensor]]:
    """The call, which pairs attend, and the output and gradients in float64."""
    case = smallest(name)
    call = call_of(case, 64, 64)
    heads = call.q.shape[1]
    mask = case.pattern.mask(case.sizes, heads=heads, **case.tensors)
    made = to_float(call, torch.float64).gradients("reference", lse=False)
    return call, torch.as_tensor(mask, device=DEVICE), made


def by_torch(call: AttentionCall, mask: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of PyTorch's attention; a row without keys gives 0."""
    some = mask.any(-1, keepdim=True)
    k, v = (x.expand(-1, call.q.shape[1], -1, -1) for x in (call.k, call.v))
    out = torch.nn.functional.scaled_dot_product_attention(call.q, k, v, attn_mask=mask | ~some)
    out = out * some
    loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).to(DEVICE)).sum()
    return [out, *torch.autograd.grad(loss, (call.q, call.k, call.v))]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda x: str(x).removeprefix("torch."))
@pytest.mark.parametrize("name", NAMES)
def test_errors_are_no_larger_than_twice_those_of_torch(name: str, dtype: torch.dtype) -> None:
    call, mask, truth = exact(name)
    rounded = to_float(call, dtype)
    ours, theirs = rounded.gradients("triton", lse=False), by_torch(rounded, mask)
    last_bit = torch.finfo(dtype).eps * max(x.norm() for x in truth[:4])
    for true, our, their in zip(truth[:4], ours[:4], theirs, strict=True):
        assert (our - true).norm() <= 2 * (their - true).norm() + last_bit
