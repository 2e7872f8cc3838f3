"""Calls whose tensors tests of large offsets spread: three batch elements or heads, or many tokens."""

from __future__ import annotations

from typing import Any

import torch

from tests.triton.memory_calls import CHUNKS, DELTA, SPLIT, TOGETHER, Sample, line

NEAR = "y, x\n    attend where abs(q.y - k.y) <= 1 and abs(q.x - k.x) <= 1\n"
CAUSAL = line("causal(n)")
CHOSEN = line("chosen[q.n, k.n] and causal(n)", "input chosen: bool[n, n]", "empty zero")
PAIRS = torch.arange(13)[:, None] % 5 == torch.arange(13) % 3
LISTED = {"_pays": lambda *_: True}
GATES: dict[str, Any] = {"a": (1, 19, 1), "beta": (1, 19, 1)}
WALKS: dict[str, Sample] = {
    "spans": Sample(CAUSAL, (1, 1), (19, 19), (16, 20)),
    "spans, by pointers": Sample(CAUSAL, (1, 1), (19, 19), (18, 13)),
    "heads together": Sample(CAUSAL, (2, 1), (19, 19), (16, 18), how=TOGETHER),
    "heads of one key head": Sample(CAUSAL, (6, 1), (13, 13), (16, 18), how=TOGETHER),
    "boxes": Sample(NEAR, (1, 1), (35, 35), (16, 20), sizes={"y": 5, "x": 7}),
    "boxes, by pointers": Sample(NEAR, (1, 1), (35, 35), (18, 20), sizes={"y": 5, "x": 7}),
    "tables": Sample(line("causal(n) and (q.n - k.n) % 3 == 0"), (1, 1), (35, 35)),
    "decoding": Sample(CAUSAL, (2, 1), (3, 70), (16, 20), how=SPLIT),
    "lists": Sample(CHOSEN, (2, 1), (13, 13), inputs={"chosen": PAIRS}, how=LISTED),
    "linear": Sample(DELTA, (1, 1), (19, 19), (7, 12), inputs=GATES, how=CHUNKS, lse=False),
}


BIASED = line("causal(n)", "input bias: float[head, n, n]", "score s + bias[head, q.n, k.n]")
WEIGHED = line("causal(n)", "input w: float[head, n]", "score s * q.w - k.w")
PACKED = line("causal(n) and q.doc == k.doc", "input doc: int[batch, n]")
ASKED = line(
    "causal(n) and there[kv_head, q.n, k.n]", "input there: bool[kv_heads, n, n]", "empty zero"
)
SCALED = line("causal(n)", "input t: float[batch, head]", "scale t[head]")
INPUTS: dict[str, Sample] = {
    "bias of pairs": Sample(BIASED, (3, 3), (13, 13), inputs={"bias": (3, 13, 13)}),
    "bias of pairs, heads together": Sample(
        BIASED, (3, 1), (13, 13), inputs={"bias": (3, 13, 13)}, how=TOGETHER
    ),
    "weights of tokens": Sample(WEIGHED, (3, 1), (13, 13), inputs={"w": (3, 13)}),
    "weights, heads together": Sample(
        WEIGHED.replace(" - k.w", ""), (3, 1), (13, 13), inputs={"w": (3, 13)}, how=TOGETHER
    ),
    "documents": Sample(
        PACKED, (1, 1), (13, 13), batch=3, inputs={"doc": torch.arange(39).view(3, 13) // 4}
    ),
    "pairs": Sample(
        ASKED, (3, 3), (13, 13), inputs={"there": PAIRS.expand(3, 13, 13).contiguous()}
    ),
    "scales": Sample(SCALED, (3, 3), (13, 13), batch=3, inputs={"t": (3, 3)}),
}


APART = {
    "bias of pairs": (0, 1),
    "bias of pairs, heads together": (0,),
    "weights of tokens": (0, 1),
    "weights, heads together": (0, 1),
    "documents": (1,),
    "pairs": (0, 1),
    "scales": (1,),
}
"""Dimensions of each one's input."""
