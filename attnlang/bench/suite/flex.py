"""PyTorch's FlexAttention, compiled, with a block mask of its own."""

from __future__ import annotations

import time
from typing import Any

import torch

from attnlang.bench.suite.contender import (
    Contender,
    Ready,
    Skipped,
    demand,
    first_call,
    synchronize,
)
from attnlang.bench.suite.pairwise import mask_mod
from attnlang.bench.suite.task import Task
from attnlang.bench.suite.torch_contenders import by_head, plain_mask

Tensor = torch.Tensor
COMPILED_MASK = 1 << 27
"""Pairs from which a block mask is made by a compiled function: otherwise all are written out."""


def flex(task: Task) -> Ready:
    """``torch.compile(flex_attention)``, default options, PyTorch's own block size."""
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    except ImportError as error:
        raise Skipped(f"this PyTorch has no FlexAttention: {error}") from error
    problem, inputs = task.call.problem, task.call.inputs
    plain_mask(problem, "FlexAttention")
    device, n = task.q.device, task.tokens
    attends = mask_mod(problem, inputs)
    heads = task.shape.heads if by_head(problem) else None
    batch = task.shape.batch if inputs.batch > 1 else None
    pairs = n * n * (heads or 1) * (batch or 1)
    compiled = pairs >= COMPILED_MASK
    if not compiled:
        demand(32 * pairs, task, "making the block mask")
    # Beyond eight masks in a process, PyTorch would quietly stop compiling.
    torch._dynamo.reset()

    def build() -> Any:
        return create_block_mask(attends, batch, heads, n, n, device=device, _compile=compiled)

    if compiled:
        build()
    start = time.perf_counter()
    blocks = build()
    synchronize(device)
    seconds = {"mask": time.perf_counter() - start}
    run = torch.compile(flex_attention, dynamic=False)
    gqa = task.q.shape[1] != task.k.shape[1]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found: Tensor = run(q, k, v, block_mask=blocks, enable_gqa=gqa)
        return found

    seconds["first_call"] = first_call(forward, task)
    refusal = "" if device.type == "cuda" else "FlexAttention has no backward pass on a processor"
    return Ready(forward, refusal, seconds)


CONTENDER = Contender("flex", flex)
