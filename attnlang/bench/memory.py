"""``attnlang bench memory``: what the blocked backend takes on long sequences, there and back.

Every length is measured in a process of its own, because a process remembers only its peak.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = "attnlang.bench.memory/1"
LENGTHS = (65_536, 131_072, 262_144)


def run(window: int = 256, dim: int = 16) -> dict[str, Any]:
    """Causal window in float32, one head, batch 1: peak memory and seconds at each length."""
    rows = [in_process(length, window, dim) for length in LENGTHS]
    case = f"causal window {window}, B=1, H=1, D={dim}, float32, forward and backward"
    return {"schema": SCHEMA, "case": case, "rows": rows}


def in_process(length: int, window: int, dim: int) -> dict[str, Any]:
    """:func:`measure` in a new Python process."""
    words = [sys.executable, "-m", __name__, str(length), str(window), str(dim)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(length: int, window: int, dim: int) -> dict[str, Any]:
    """Bytes by which the peak grows from before planning until gradients are there, and seconds.

    error: the largest difference from attention worked out query by query, over a few queries.
    """
    import torch

    from attnlang.api import load

    torch.manual_seed(0)
    op = load("stdlib:sliding_window", window=window).compile("blocked")
    q, k, v = (torch.randn(1, 1, length, dim, requires_grad=True) for _ in range(3))
    before = _peak()
    start = time.perf_counter()
    out = op(q, k, v)
    assert isinstance(out, torch.Tensor)
    middle = time.perf_counter()
    out.square().mean().backward()
    stop = time.perf_counter()
    peak = _peak() - before
    error = 0.0
    with torch.no_grad():
        for i in (0, 1, window - 1, length // 2 + 1, length - 1):
            keys = slice(max(0, i - window + 1), i + 1)
            weights = torch.softmax(q[0, 0, i] @ k[0, 0, keys].T * dim**-0.5, 0)
            error = max(error, float((out[0, 0, i] - weights @ v[0, 0, keys]).abs().max()))
    return {
        "length": length,
        "peak_bytes": peak,
        "tensor_bytes": 4 * length * dim * 4,
        "dense_mask_bytes": length * length,
        "forward_s": middle - start,
        "backward_s": stop - middle,
        "error": error,
    }


def _peak() -> int:
    """The most bytes that this process has held so far. Linux counts what the process that started
    it had held into ``ru_maxrss``, but not into what it says of the process itself."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if found is not None:
            return int(found[1]) * 1024
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo


def table(result: Mapping[str, Any]) -> str:
    """The result as a text table."""
    head = f"{'length':>9} {'peak':>9} {'q,k,v,out':>10} {'forward':>9} {'backward':>9}"
    lines = [result["case"], head]
    for row in result["rows"]:
        peak, tensors = (row[name] / 1e6 for name in ("peak_bytes", "tensor_bytes"))
        lines.append(
            f"{row['length']:>9} {peak:6.0f} MB {tensors:7.0f} MB "
            f"{row['forward_s']:8.2f}s {row['backward_s']:8.2f}s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(*map(int, sys.argv[1:]))))
