"""Libraries that have some of the workloads as operators of their own, where installed."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from attnlang.bench.suite.contender import Contender, Ready, Skipped, first_call
from attnlang.bench.suite.task import Task

Tensor = torch.Tensor


def _library(module: str, task: Task) -> Any:
    """The module. Raises Skipped where it is not there, or not for this machine."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Skipped("not installed") from error
    if not task.q.is_cuda:
        raise Skipped("needs a GPU")
    return found


def _ready(forward: Any, task: Task) -> Ready:
    return Ready(forward, seconds={"first_call": first_call(forward, task)})


def natten(task: Task) -> Ready:
    """NATTEN's ``na1d``, ``na2d``, ``na3d``, which take heads behind tokens."""
    module = _library("natten", task)
    lengths, params = tuple(task.shape.sizes.values()), task.pattern.params
    rank = len(lengths)
    attend = getattr(module, f"na{rank}d")

    def each(name: str) -> Any:
        value: Any = params[name]
        return tuple(value) if isinstance(value, tuple) else (value,) * rank

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        laid = (x.transpose(1, 2).unflatten(1, lengths).contiguous() for x in (q, k, v))
        out = attend(
            *laid,
            kernel_size=each("window"),
            stride=each("stride"),
            dilation=each("dilation"),
            is_causal=each("causal"),
        )
        found: Tensor = out.flatten(1, rank).transpose(1, 2)
        return found

    return _ready(forward, task)


def flash_attn(task: Task) -> Ready:
    """Dao's flash-attn: causal windows, and packed documents by their offsets."""
    module = _library("flash_attn", task)
    documents = task.inputs.get("doc")

    def windowed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        window = int(str(task.pattern.params["window"]))
        laid = (x.transpose(1, 2) for x in (q, k, v))
        out = module.flash_attn_func(*laid, causal=True, window_size=(window - 1, 0))
        found: Tensor = out.transpose(1, 2)
        return found

    if documents is None:
        return _ready(windowed, task)
    counts = torch.unique_consecutive(documents[0], return_counts=True)[1]
    ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
    longest = int(counts.max())

    def packed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        laid = (x[0].transpose(0, 1) for x in (q, k, v))
        out = module.flash_attn_varlen_func(*laid, ends, ends, longest, longest, causal=True)
        found: Tensor = out.transpose(0, 1)[None]
        return found

    return _ready(packed, task)


def fla(task: Task) -> Ready:
    """flash-linear-attention with one constant decay a head."""
    _library("fla", task)
    module = importlib.import_module("fla.ops.simple_gla")
    heads = task.shape.heads
    place = torch.arange(1, heads + 1, dtype=torch.float32, device=task.q.device)
    decay = -torch.exp2(-8.0 * place / heads)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        laid = (x.transpose(1, 2).contiguous() for x in (q, k, v))
        out, _ = module.chunk_simple_gla(*laid, g_gamma=decay, scale=1.0)
        found: Tensor = out.transpose(1, 2)
        return found

    return _ready(forward, task)


CONTENDERS: tuple[Contender, ...] = (
    Contender("natten", natten),
    Contender("flash-attn", flash_attn),
    Contender("flash-linear-attention", fla),
)
"""Each takes part where a workload names it as kin."""
