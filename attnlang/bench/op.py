"""``attnlang bench op``: the blocked backend against dense attention with the same mask."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from attnlang.api import load
from attnlang.bench.timing import interleaved

SCHEMA = "attnlang.bench.op/1"


def run(
    length: int = 8192, window: int = 256, heads: int = 8, dim: int = 64, rounds: int = 5
) -> dict[str, Any]:
    """Causal window in float32, batch 1: forward, and forward with backward, in alternation.

    Checked for equality before anything is timed. Ratios are of medians.
    """
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, length, dim, requires_grad=True) for _ in range(3))
    grad = torch.randn(1, heads, length, dim)
    pattern = load("stdlib:sliding_window", window=window)
    op = pattern.compile("blocked")
    mask = pattern.mask({"n": length})[None]

    def ours() -> torch.Tensor:
        out = op(q, k, v)
        assert isinstance(out, torch.Tensor)
        return out

    def dense() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    with torch.no_grad():
        error = float((ours() - dense()).abs().max())

    def trained(forward: Any) -> Any:
        return lambda: torch.autograd.grad(forward(), (q, k, v), grad)

    rows = []
    cases: list[tuple[str, dict[str, Callable[[], object]]]] = [
        ("forward", {"blocked": ours, "sdpa": dense}),
        ("forward and backward", {"blocked": trained(ours), "sdpa": trained(dense)}),
    ]
    for what, works in cases:
        seconds = interleaved(works, rounds)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        rows.append(
            {
                "what": what,
                "seconds": seconds,
                "median_s": medians,
                "ratio": medians["sdpa"] / medians["blocked"],
            }
        )
    return {
        "schema": SCHEMA,
        "case": f"causal window {window}, N={length}, B=1, H={heads}, D={dim}, float32",
        "max_error": error,
        "threads": torch.get_num_threads(),
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """The result as a text table."""
    lines = [result["case"], f"{'':22} {'blocked':>10} {'SDPA+mask':>10} {'ratio':>7}"]
    for row in result["rows"]:
        a, b = row["median_s"]["blocked"], row["median_s"]["sdpa"]
        lines.append(f"{row['what']:22} {a:9.3f}s {b:9.3f}s {row['ratio']:6.1f}x")
    lines.append(f"largest difference of the outputs: {result['max_error']:.1e}")
    return "\n".join(lines)
