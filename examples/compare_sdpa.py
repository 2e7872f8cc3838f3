"""Measure a compiled sliding window against PyTorch's attention with the same mask.

Both run in this process, in turns, on the same tensors; correctness comes first. Prints a table
and writes compare_sdpa.json.

    python examples/compare_sdpa.py            8192 tokens, a window of 256
    python examples/compare_sdpa.py --quick    2048 tokens
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

# Where other programs use the cores too, threads that wait must not spin: ten times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import attnlang

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one way to compute, over all rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.1f} ms  ({self.low:,.1f} to {self.high:,.1f})"


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    n, window = options.tokens, options.window
    console = Console(soft_wrap=True)
    console.print(f"batch 1, {options.heads} heads, {n} tokens, head size 64, float32, a causal window of {window}; "
                  f"{torch.get_num_threads()} threads, {options.rounds} rounds in turns", highlight=False)  # fmt: skip

    pattern = attnlang.load("stdlib:sliding_window", window=window)
    mask = pattern.mask({"n": n})
    ways: dict[str, Attend] = {
        "attnlang": pattern.compile(),
        "SDPA with the mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    }
    tensors = [torch.randn(1, options.heads, n, 64, requires_grad=True) for _ in range(3)]

    errors = {name: error(attend, tensors, mask) for name, attend in ways.items()}
    bound = max(2 * errors["SDPA with the mask"], 1e-6)
    if not errors["attnlang"] <= bound:
        raise SystemExit(f"wrong result: off by {errors['attnlang']:.1e}, allowed {bound:.1e}")

    results = {"errors": errors}
    table = Table("", *ways, "faster by", title="median (fastest to slowest)", title_justify="left")
    for what, run in (("forward", forward), ("forward + backward", both)):
        timings = measure(ways, lambda attend, run=run: run(attend, tensors), options.rounds)
        ours, theirs = timings.values()
        ratio = theirs.median / ours.median
        table.add_row(what, *map(str, timings.values()), f"{ratio:.1f}×")
        results[what] = {"ratio": ratio, **{name: asdict(t) for name, t in timings.items()}}
    table.add_row("largest error", *(f"{e:.1e}" for e in errors.values()), "")
    console.print(table)
    write(options, mask, results)


def error(attend: Attend, tensors: list[Tensor], mask: Tensor, rows: int = 256) -> float:
    """The largest difference from float64, over rows at the start, the middle and the end."""
    q, k, v = (t.detach() for t in tensors)
    with torch.no_grad():
        out = attend(q, k, v).double()
    worst, n = 0.0, q.shape[2]
    for start in (0, (n - rows) // 2, n - rows):
        at = slice(start, start + rows)
        truth = F.scaled_dot_product_attention(
            q[:, :, at].double(), k.double(), v.double(), attn_mask=mask[:, at]
        )
        worst = max(worst, (out[:, :, at] - truth).abs().max().item())
    return worst


def forward(attend: Attend, tensors: list[Tensor]) -> None:
    with torch.no_grad():
        attend(*tensors)


def both(attend: Attend, tensors: list[Tensor]) -> None:
    attend(*tensors).sum().backward()
    for t in tensors:
        t.grad = None


def measure(
    ways: dict[str, Attend], run: Callable[[Attend], None], rounds: int
) -> dict[str, Timing]:
    """Every way once a round, in turns, so that a busy moment meets them all; one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, attend in ways.items():
            began = time.perf_counter()
            run(attend)
            if number:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: Timing(median(ms), min(ms), max(ms)) for name, ms in times.items()}


def write(options: argparse.Namespace, mask: Tensor, results: dict[str, object]) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    setting = {
        "tokens": options.tokens, "window": options.window, "heads": options.heads, "head_dim": 64,
        "batch": 1, "dtype": "float32", "density": mask.float().mean().item(),
        "rounds": options.rounds, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "machine": platform.machine(),
    }  # fmt: skip
    text = json.dumps({"setting": setting, **results}, indent=2)
    (options.out / "compare_sdpa.json").write_text(text + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2048 tokens")
    parser.add_argument("--tokens", type=int, help="tokens (default: 8192)")
    parser.add_argument("--window", type=int, default=256, help="keys a query sees (default: 256)")
    parser.add_argument("--heads", type=int, default=8, help="heads (default: 8)")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (default: 7)")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the result")
    options = parser.parse_args()
    options.tokens = options.tokens or (2048 if options.quick else 8192)
    return options


if __name__ == "__main__":
    main()
