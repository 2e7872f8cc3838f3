"""``attnlang bench linear``: what a token of linear attention costs in short and long sequences."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from attnlang.backends.linear import chunkwise
from attnlang.bench.timing import interleaved

SCHEMA = "attnlang.bench.linear/1"


def run(
    lengths: tuple[int, ...] = (8192, 65536, 524288), heads: int = 2, dim: int = 64, rounds: int = 5
) -> dict[str, Any]:
    """Constant decays 2^(-8 h / heads), float32, batch 1, forward: the same number of tokens of
    each length, in alternation. Seconds are the processor's, so that others on the machine count
    less. Ratios are to the shortest, the median of the rounds."""
    torch.manual_seed(0)
    decay = -torch.exp2(-8.0 * torch.arange(1, heads + 1) / heads)
    most = max(lengths)

    def work(length: int) -> Callable[[], object]:
        q, k, v = torch.randn(3, 1, heads, length, dim)

        def forward() -> None:
            for _ in range(most // length):
                chunkwise(q, k, v, decay=decay)

        return forward

    seconds = interleaved({str(n): work(n) for n in lengths}, rounds, time.process_time)
    shortest = seconds[str(min(lengths))]
    rows = [
        {
            "length": n,
            "seconds": times,
            "microseconds_a_token": statistics.median(times) / (most // n * n) * 1e6,
            "ratio": statistics.median(a / b for a, b in zip(times, shortest, strict=True)),
        }
        for n, times in ((n, seconds[str(n)]) for n in lengths)
    ]
    return {
        "schema": SCHEMA,
        "case": f"constant decay, B=1, H={heads}, D={dim}, float32, forward, processor time",
        "threads": torch.get_num_threads(),
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """The result as a text table."""
    lines = [result["case"], f"{'length':>9} {'a token':>11} {'ratio':>6}"]
    for row in result["rows"]:
        lines.append(
            f"{row['length']:>9} {row['microseconds_a_token']:8.3f} us {row['ratio']:6.3f}"
        )
    return "\n".join(lines)
