"""``attnlang bench start``: how long a person waits before anything happens, in new processes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "attnlang.bench.start/1"


@dataclass(frozen=True, slots=True)
class Case:
    """A program whose last line is its seconds.

    target: seconds that it should take at most; None where there is only interest.
    """

    name: str
    program: str
    target: float | None


CLOCKED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
FIRST = """
import time
import torch, attnlang
q, k, v = (torch.randn(1, 4, 1024, 32) for _ in range(3))
start = time.perf_counter()
op = attnlang.load("stdlib:sliding_window", window=64).compile()
op(q, k, v)
print(time.perf_counter() - start)
"""
CASES = (
    Case("import attnlang", CLOCKED.format("import attnlang"), 0.15),
    Case(
        "check stdlib:sliding_window",
        CLOCKED.format(
            "from attnlang.cli import main; main(['check', 'stdlib:sliding_window', '--json'])"
        ),
        0.5,
    ),
    Case("first call after import torch, attnlang", FIRST, 0.3),
    Case("import torch", CLOCKED.format("import torch"), None),
)  # fmt: skip


def run(runs: int = 7, tell: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Each case in processes of its own; the first of each is not counted, it fills caches."""
    rows = []
    for case in CASES:
        tell(case.name)
        once(case)
        seconds = [once(case) for _ in range(runs)]
        rows.append(
            {
                "case": case.name,
                "target_s": case.target,
                "median_s": statistics.median(seconds),
                "min_s": min(seconds),
                "max_s": max(seconds),
                "runs": runs,
            }
        )
    return {"schema": SCHEMA, "rows": rows}


def once(case: Case) -> float:
    """Seconds that the program says it took."""
    # With this set, as some shells have it, every process would compile all texts anew.
    env = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, "-c", case.program]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    return float(json.loads(done.stdout.splitlines()[-1]))


def table(result: Mapping[str, Any]) -> str:
    """The result as a text table."""
    lines = [f"{'':42} {'median':>8} {'min':>8} {'max':>8} {'hoped for':>10}"]
    for row in result["rows"]:
        times = " ".join(f"{row[k]:7.3f}s" for k in ("median_s", "min_s", "max_s"))
        target = "" if row["target_s"] is None else f"{row['target_s']:9.2f}s"
        lines.append(f"{row['case']:42} {times} {target}")
    return "\n".join(lines)
