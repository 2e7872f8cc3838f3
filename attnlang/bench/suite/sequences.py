"""Workloads on sequences: windows, strides, documents, chosen blocks, decay."""

from __future__ import annotations

import torch

from attnlang.bench.suite.workload import Inputs, Shape, Workload

LIGHTNING = """
pattern lightning:
    over n
    attend linear where causal(n)
        scale 1.0
        decay -slope(head)

def slope(h: int) -> float:
    return exp2(-8.0 * float(h + 1) / float(heads))
"""
FACTORED = """
pattern strided(stride: int = 128):
    over n
    attend where causal(n) and (q.n - k.n < stride or (q.n - k.n) % stride == 0)
"""
PAIRS = """
pattern lightning_pairs:
    over n
    attend where causal(n)
        scale 1.0
        score s * exp(slope(head) * float(k.n - q.n))
        normalise none

def slope(h: int) -> float:
    return exp2(-8.0 * float(h + 1) / float(heads))
"""
"""The same weights pair by pair."""


def documents(shape: Shape, generator: torch.Generator) -> Inputs:
    """Packed documents of unlike lengths, the mean a sixteenth of the sequence."""
    n = shape.sizes["n"]
    cuts = torch.randperm(n - 1, generator=generator)[:15] + 1
    starts = torch.zeros(n, dtype=torch.int64)
    starts[cuts] = 1
    return {"doc": starts.cumsum(0)[None].expand(shape.batch, -1).contiguous()}


def gate(shape: Shape, generator: torch.Generator) -> Inputs:
    """Logits of a gate: random, but higher near the query and at the first block."""
    block = int(str(shape.params["block"]))
    count = -(-shape.sizes["n"] // block)
    drawn = torch.randn(shape.batch, shape.heads, count, count, generator=generator)
    place = torch.arange(count)
    away = (place[:, None] - place).abs().float()
    return {"gate": drawn + 4.0 * torch.exp(-away / 2) + 2.0 * (place == 0)}


def line(n: int, heads: int, dim: int, kv_heads: int | None = None, **params: object) -> Shape:
    return Shape({"n": n}, heads, dim, params, kv_heads)


NA1D = tuple(
    Workload(
        f"na1d_stride_{name}",
        "stdlib:neighborhood_1d",
        "one head, 32768 tokens, window 2048: at most 16 times less work (NATTEN's profiler, 2025)",
        {
            "cuda": (line(32768, 1, 128, window=2048, stride=stride),),
            "cpu": (line(8192, 1, 64, window=512, stride=max(stride // 4, 1)),),
            "quick": (line(4096, 1, 64, window=256, stride=max(stride // 8, 1)),),
        },
        kin=("natten",),
    )
    for name, stride in (("1", 1), ("eighth", 256))
)

DILATED = Workload(
    "dilated",
    "stdlib:neighborhood_1d",
    "dilated windows, causal (Dilated Neighborhood Attention, 2022)",
    {
        "cuda": (line(32768, 16, 128, window=256, dilation=128, causal=True),),
        "cpu": (line(8192, 4, 64, window=64, dilation=64, causal=True),),
        "quick": (line(4096, 2, 64, window=64, dilation=32, causal=True),),
    },
    kin=("natten",),
)

WINDOW = Workload(
    "window",
    "stdlib:sliding_window",
    "causal window of 1024 at 32768 tokens (Mistral 7B, 2023; FlashAttention-3, 2024)",
    {
        "cuda": tuple(line(32768, 32, 128, 8, window=w) for w in (256, 1024, 4096)),
        "cpu": (line(8192, 8, 64, window=256),),
        "quick": (line(4096, 4, 64, window=128),),
    },
    kin=("flash-attn",),
)

SINKS = Workload(
    "sinks",
    "stdlib:streaming_sink",
    "four sinks and a window (StreamingLLM, 2023)",
    {
        "cuda": (line(32768, 32, 128, 8, window=1024),),
        "cpu": (line(8192, 4, 64, window=256),),
        "quick": (line(4096, 2, 64, window=128),),
    },
)

DOCUMENTS = Workload(
    "documents",
    "stdlib:lca_causal_document",
    "packed documents, causal, the mean a sixteenth of the sequence (FlexAttention, 2024)",
    {
        "cuda": tuple(line(n, 16, 128) for n in (8192, 32768)),
        "cpu": (line(8192, 4, 64),),
        "quick": (line(4096, 2, 64),),
    },
    inputs=documents,
    kin=("flash-attn",),
)

STRIDED = Workload(
    "s2",
    "stdlib:s2_local_stride",
    "heads with a local band and their own columns, to 131072 tokens: up to 25.3 times as fast as "
    "FlashAttention-2 (S2-Attention, 2024)",
    {
        "cuda": tuple(line(n, 32, 128) for n in (8192, 32768, 131072)),
        "cpu": (line(16384, 4, 64, local_blocks=2, vert_stride=8),),
        "quick": (line(4096, 4, 64, local_blocks=1, vert_stride=8),),
    },
)

SPARSE_TRANSFORMER = Workload(
    "strided",
    FACTORED,
    "the last 128 tokens and every 128th before them (Sparse Transformers, 2019)",
    {
        "cuda": tuple(line(n, 16, 64, stride=128) for n in (12288, 32768)),
        "cpu": (line(8192, 4, 64, stride=64),),
        "quick": (line(4096, 2, 64, stride=64),),
    },
)

SEER = Workload(
    "seer",
    "stdlib:seer_attention",
    "90 % of the blocks left out at 32768 tokens: 5.67 times as fast as FlashAttention-2 "
    "(SeerAttention, 2024)",
    {
        "cuda": (line(32768, 32, 128, 8, block=64, by="ratio", ratio=0.1),),
        "cpu": (line(8192, 4, 64, 1, block=64, by="ratio", ratio=0.1),),
        "quick": (line(4096, 2, 64, 1, block=64, by="ratio", ratio=0.1),),
    },
    inputs=gate,
)

MOBA = Workload(
    "moba",
    "stdlib:moba",
    "three blocks of 512 for each query; 6.5 times as fast at a million tokens (MoBA, 2025)",
    {
        "cuda": (line(32768, 16, 128, block=512, topk=3),),
        "cpu": (line(8192, 2, 64, block=128, topk=3),),
        "quick": (line(4096, 2, 64, block=64, topk=3),),
    },
)

DECAY = Workload(
    "lightning",
    LIGHTNING,
    "linear attention with decay: 9.2 times as fast as FlashAttention-2 at 32768 tokens "
    "(Lightning Attention-2, 2024)",
    {
        "cuda": tuple(line(n, 32, 128) for n in (4096, 32768, 131072)),
        "cpu": (line(8192, 4, 64),),
        "quick": (line(4096, 2, 64),),
    },
    definition=PAIRS,
    kin=("flash-linear-attention",),
)

CAUSAL = Workload(
    "causal",
    "stdlib:causal",
    "the control: nothing to skip but the future",
    {
        "cuda": (line(32768, 16, 128),),
        "cpu": (line(4096, 4, 64),),
        "quick": (line(2048, 2, 64),),
    },
)

WORKLOADS: tuple[Workload, ...] = (
    WINDOW, SINKS, DOCUMENTS, *NA1D, DILATED, STRIDED, SPARSE_TRANSFORMER, SEER, MOBA,
    DECAY, CAUSAL,
)  # fmt: skip
