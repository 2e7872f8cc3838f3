"""attnlang itself, and PyTorch's scaled_dot_product_attention with and without the mask."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from attnlang.api import load
from attnlang.backends.call import Call, Inputs
from attnlang.bench.suite.contender import (
    Contender,
    Ready,
    Skipped,
    demand,
    first_call,
    synchronize,
)
from attnlang.bench.suite.pairwise import strips
from attnlang.bench.suite.task import Task
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser
from attnlang.compiler.problem.problem import Problem

Tensor = torch.Tensor


def ours(backend: str) -> Contender:
    def prepare(task: Task) -> Ready:
        if backend == "triton" and not task.q.is_cuda:
            raise Skipped("Triton kernels need a GPU")
        try:
            forward = task.run(backend)
        except Unsupported as error:
            raise Skipped(str(error)) from error
        return Ready(forward, seconds={"first_call": first_call(forward, task)})

    return Contender("attnlang" if backend == "auto" else f"attnlang {backend}", prepare)


def sdpa(task: Task) -> Ready:
    """Dense attention: causal where the pattern is. Another function, and what it costs."""
    causal, gqa = task.causal, task.q.shape[1] != task.k.shape[1]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=gqa)

    dense = load("stdlib:causal" if causal else "stdlib:full").problem(
        {"n": task.tokens},
        task.shape.heads,
        kv_heads=task.k.shape[1],
        head_dim=task.shape.dim,
    )
    return Ready(forward, answers=Call(dense, task.q, task.k, task.v, Inputs()))


def sdpa_mask(task: Task) -> Ready:
    """The same with the pattern as a boolean mask, which is exact."""
    plain_mask(task.call.problem, "scaled_dot_product_attention")
    heads = task.shape.heads if by_head(task.call.problem) else 1
    batch = task.call.inputs.batch
    # The mask, and in half a dozen bytes a pair what PyTorch makes of it.
    demand(6 * batch * heads * task.tokens**2, task, "a mask of all pairs")
    start = time.perf_counter()
    made = dense_mask(task, batch, heads)
    synchronize(made.device)
    took = time.perf_counter() - start
    gqa = task.q.shape[1] != task.k.shape[1]

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=made, enable_gqa=gqa)

    return Ready(forward, seconds={"mask": took})


def dense_mask(task: Task, batch: int, heads: int) -> Tensor:
    """bool ``[B or 1, H or 1, N, N]``."""
    n, device = task.tokens, task.q.device
    made = torch.empty((batch, heads, n, n), dtype=torch.bool, device=device)
    for rows, part in strips(task.call.problem, task.call.inputs, batch, heads, device):
        made[:, :, rows] = part
    return made


def by_head(problem: Problem) -> bool:
    """Do heads attend different pairs, by the pattern or by what it reads?"""
    read = any("head" in i.dims or "kv_head" in i.dims for i in problem.pattern.inputs)
    return read or problem.varies_by_head


def plain_mask(problem: Problem, who: str) -> None:
    """Raises Skipped unless the pattern is a softmax over a mask."""
    for group in problem.groups:
        attend = group.attend
        if attend.normaliser is not Normaliser.SOFTMAX:
            raise Skipped(f"{who} has no attention without softmax")
        if any(x is not None for x in (attend.score, attend.scale, attend.sink, attend.gain)):
            raise Skipped(f"the suite gives {who} masks alone, no edits of scores")
        if attend.empty is not EmptyRule.ZERO:
            raise Skipped(f"{who} has no rule `empty {attend.empty}`")


CONTENDERS: tuple[Contender, ...] = (
    ours("auto"),
    ours("triton"),
    Contender("sdpa", sdpa),
    Contender("sdpa + mask", sdpa_mask),
)
