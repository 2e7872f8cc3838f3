"""A workload made ready: the same tensors, and the same facts, for every contender."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from attnlang.api import parse
from attnlang.backends import registry
from attnlang.backends.arguments import check_inputs
from attnlang.backends.blocked.attend import known_of
from attnlang.backends.blocked.sets import set_read
from attnlang.backends.call import Call
from attnlang.backends.program.run import Runner
from attnlang.bench.suite.limits import TooSlow, within
from attnlang.bench.suite.pairwise import strips
from attnlang.bench.suite.workload import Inputs, Shape, Workload
from attnlang.compiler.plan.make import make
from attnlang.compiler.plan.plan import Plan
from attnlang.pattern import Pattern

Tensor = torch.Tensor
COUNTING_S = 60.0
"""For counting the pairs that attend; where that takes longer they stay unknown."""


@dataclass(frozen=True, slots=True)
class Task:
    """What contenders are given.

    call: one softmax, or one sum over pairs, on q ``[B, H, N, D]``, k and v ``[B, Hkv, N, D]``;
    what every output is held to. run: attnlang's function of q, k, v by backend. plan: None where
    attnlang follows none. pairs: (head, query, key) that attend in a batch element, where counted.
    seconds: ``plan``, and ``select`` where something is chosen first.
    """

    workload: Workload
    shape: Shape
    pattern: Pattern
    inputs: Inputs
    call: Call
    run: Callable[[str], Callable[[Tensor, Tensor, Tensor], Tensor]]
    plan: Plan | None
    pairs: int | None
    causal: bool
    seconds: Mapping[str, float]

    @property
    def q(self) -> Tensor:
        return self.call.q

    @property
    def k(self) -> Tensor:
        return self.call.k

    @property
    def v(self) -> Tensor:
        return self.call.v

    @property
    def tokens(self) -> int:
        return self.call.q.shape[2]

    @property
    def dense_pairs(self) -> int:
        """(head, query, key) that dense attention computes in a batch element."""
        keys = (self.tokens + 1) / 2 if self.causal else self.tokens
        return round(self.shape.heads * self.tokens * keys)

    @property
    def flops(self) -> int | None:
        """Multiplications and additions that have to be done, forward.

        4 D for each pair that attends; 4 D^2 for each token of a linear attention, whose state is
        written and read.
        """
        each = 4 * self.shape.dim * self.shape.batch
        if self.workload.definition is not None:
            return each * self.shape.heads * self.tokens * self.shape.dim
        return None if self.pairs is None else each * self.pairs


def prepare(workload: Workload, shape: Shape, device: torch.device, dtype: torch.dtype) -> Task:
    """Draw the tensors, choose what is to be chosen, plan. Raises PatternError."""
    pattern = workload.load(shape)
    kv_heads = shape.kv_heads or shape.heads
    sizes: dict[str, Any] = {
        "sizes": shape.sizes, "heads": shape.heads, "kv_heads": kv_heads, "head_dim": shape.dim,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    inputs = {n: x.to(device) for n, x in workload.inputs(shape, generator).items()}
    program = pattern.ir.program is not None
    frame = pattern.bound(**sizes).frame if program else pattern.problem(**sizes)

    def normal(heads: int) -> Tensor:
        made = torch.randn(shape.batch, heads, frame.q_len, shape.dim, generator=generator)
        return made.to(device, dtype)

    q, k, v = normal(shape.heads), normal(kv_heads), normal(kv_heads)
    call = Call(frame, q, k, v, check_inputs(frame, inputs, shape.batch, device), need_lse=False)
    run = partial(_op, pattern, shape, inputs)
    seconds: dict[str, float] = {}
    if workload.definition is not None:
        call = replace(call, problem=parse(workload.definition).problem(**sizes))
        return Task(workload, shape, pattern, inputs, call, run, None, None, True, seconds)
    if program:
        seconds["select"] = _selecting(pattern, call, shape, inputs)
        chosen = _attention(pattern, call, sizes)
        run, call = partial(_chosen, chosen), chosen.dense()
    pairs: int | None = None
    if set_read(call) is not None:
        pairs, causal = counted(call)
        return Task(workload, shape, pattern, inputs, call, run, None, pairs, causal, seconds)
    start = time.perf_counter()
    plan = make(call.problem, None, known_of(call.inputs, call.problem))
    seconds["plan"] = time.perf_counter() - start
    with suppress(TooSlow), within(COUNTING_S):
        pairs = plan.pairs
    causal = plan.facts["causal"]
    return Task(workload, shape, pattern, inputs, call, run, plan, pairs, causal, seconds)


def counted(call: Call) -> tuple[int, bool]:
    """Pairs that attend, in the first batch element, and is none of them of a later key?

    Looks at every pair: for chosen sets, which attnlang runs without a plan.
    """
    pairs, causal = 0, True
    device, heads = call.q.device, call.q.shape[1]
    keys = torch.arange(call.k.shape[2], device=device)
    for rows, part in strips(call.problem, call.inputs, 1, heads, device):
        later = keys > torch.arange(call.q.shape[2], device=device)[rows, None]
        pairs += int(part.sum())
        causal = causal and not bool((part & later).any())
    return pairs, causal


def _op(
    pattern: Pattern, shape: Shape, inputs: Inputs, backend: str
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The whole pattern as users call it. Raises Unsupported."""
    op = pattern.compile(backend)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = op(q, k, v, shape.sizes, **inputs)
        return out

    return forward


def _chosen(call: Call, backend: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A program's attention once everything is chosen. Raises Unsupported."""
    registry.check(backend, call.problem.pattern)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return registry.run(backend, replace(call, q=q, k=k, v=v))[0]

    return forward


def _selecting(pattern: Pattern, call: Call, shape: Shape, inputs: Inputs) -> float:
    """Seconds of choosing."""
    op = pattern.compile()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        op.select(call.q, call.k, call.v, shape.sizes, **dict[str, Any](inputs))
        if call.q.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _attention(pattern: Pattern, call: Call, sizes: Mapping[str, Any]) -> Call:
    """The call of a program's last attention."""
    made: list[Call] = []

    def keep(one: Call) -> tuple[Tensor, Tensor | None]:
        made.append(one)
        return registry.run(registry.AUTO, one)

    Runner(pattern.bound(**sizes), call, keep, registry.AUTO).steps()
    return replace(made[-1], need_lse=False)
