"""Measure a compiled sliding window against PyTorch's attention with the same mask.

Both run in this process, in turns, on the same tensors, and are compared with float64 before
anything is timed. Prints what it finds and writes compare_sdpa.json.

    python examples/compare_sdpa.py            8192 tokens, a window of 256
    python examples/compare_sdpa.py --quick    2048 tokens
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

# Where other programs use the cores too, threads that wait must not spin: it costs far more.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F
from torch import Tensor

import attnlang
from attnlang.bench.timing import circumstances, interleaved

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
HEAD_DIM = 64


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    pattern = attnlang.load("stdlib:sliding_window", window=options.window)
    # [tokens, tokens]: with a third dimension SDPA would take a slower way.
    mask = pattern.mask({"n": options.tokens})[0]
    ways: dict[str, Attend] = {
        "attnlang": pattern.compile(),
        "SDPA": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    }
    tensors = [torch.randn(1, options.heads, options.tokens, HEAD_DIM) for _ in range(3)]
    share = mask.double().mean().item()
    print(f"batch 1, {options.heads} heads of {HEAD_DIM}, {options.tokens} tokens, float32,")
    print(f"causal window of {options.window}: {share:.1%} of the pairs attend")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turns\n")

    errors = {name: error(attend, tensors, mask) for name, attend in ways.items()}
    print("largest error against float64   ", "   ".join(f"{n} {e:.1e}" for n, e in errors.items()))
    if not errors["attnlang"] <= max(2 * errors["SDPA"], 1e-6):
        raise SystemExit("attnlang's result is wrong: nothing is timed")

    results: dict[str, Any] = {"errors": errors}
    print(f"\n{'':31}  {'median':>10}  {'fastest':>10}  {'slowest':>10}")
    for what, run in (("forward", forward), ("forward + backward", both)):
        works = {name: work(run, attend, tensors) for name, attend in ways.items()}
        seconds = interleaved(works, options.rounds)
        for name, times in seconds.items():
            cells = (f"{1000 * t:>7,.1f} ms" for t in (median(times), min(times), max(times)))
            print(f"{what:19} {name:11}", *cells, sep="  ")
        ratios = [s / a for a, s in zip(seconds["attnlang"], seconds["SDPA"], strict=True)]
        print(f"{what:19} SDPA takes {median(ratios):.1f} times as long "
              f"({min(ratios):.1f} to {max(ratios):.1f})\n")  # fmt: skip
        results[what] = {"seconds": seconds, "ratio": median(ratios)}
    write(options, results)


def error(attend: Attend, tensors: list[Tensor], mask: Tensor, rows: int = 256) -> float:
    """The largest difference from float64, over rows at the start, the middle and the end."""
    q, k, v = tensors
    out = attend(q, k, v).double()
    worst, n = 0.0, q.shape[2]
    for start in (0, (n - rows) // 2, n - rows):
        at = slice(start, start + rows)
        truth = F.scaled_dot_product_attention(
            q[:, :, at].double(), k.double(), v.double(), attn_mask=mask[at]
        )
        worst = max(worst, (out[:, :, at] - truth).abs().max().item())
    return worst


def forward(attend: Attend, tensors: list[Tensor]) -> None:
    attend(*tensors)


def both(attend: Attend, tensors: list[Tensor]) -> None:
    leaves = [t.requires_grad_() for t in tensors]
    torch.autograd.grad(attend(*leaves).sum(), leaves)
    for t in leaves:
        t.requires_grad_(False)


def work(
    run: Callable[[Attend, list[Tensor]], None], attend: Attend, tensors: list[Tensor]
) -> Callable[[], None]:
    return lambda: run(attend, tensors)


def write(options: argparse.Namespace, results: dict[str, Any]) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    setting = {
        "tokens": options.tokens, "window": options.window, "heads": options.heads, "batch": 1,
        "head_dim": HEAD_DIM, "dtype": "float32", "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "baseline": "scaled_dot_product_attention, boolean mask", **circumstances(),
    }  # fmt: skip
    text = json.dumps({"setting": setting, **results}, indent=2)
    (options.out / "compare_sdpa.json").write_text(text + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2048 tokens")
    parser.add_argument("--tokens", type=int, help="tokens (default: 8192)")
    parser.add_argument("--window", type=int, default=256, help="keys a query sees (default: 256)")
    parser.add_argument("--heads", type=int, default=8, help="heads (default: 8)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for results")
    options = parser.parse_args()
    options.tokens = options.tokens or (2048 if options.quick else 8192)
    return options


if __name__ == "__main__":
    main()
