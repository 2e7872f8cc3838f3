"""``attnlang bench constant``: does a token of linear attention cost the same at every length?

Lightning Attention-2 (2024) promises a constant speed. Measured is the forward pass with a constant
decay a head, from 8192 tokens on, doubled as far as memory and the given length allow. Freed memory
is kept for the next call, on a CPU as on a GPU, where the C library can.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from attnlang.api import parse
from attnlang.backends.call import Call, Inputs
from attnlang.bench.kept import keep_freed_memory
from attnlang.bench.suite.limits import free_bytes
from attnlang.bench.suite.measure import clocked
from attnlang.bench.suite.sequences import LIGHTNING, PAIRS
from attnlang.bench.suite.truth import TOLERANCE, error, truth
from attnlang.op import AttentionOp

SCHEMA = "attnlang.bench.constant/1"
SHORTEST, LONGEST = 8192, 524288
TARGET = 1.1
"""The dearest token over one at the shortest length."""


def lengths(shortest: int, longest: int, bytes_each: int, free: int) -> list[int]:
    """Doubling lengths whose tensors, six times over, fit the memory there is."""
    found = []
    n = shortest
    while n <= longest and 6 * bytes_each * n <= free:
        found.append(n)
        n *= 2
    return found


def run(
    device: str = "cpu",
    heads: int = 4,
    dim: int = 64,
    rounds: int = 7,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    keep: bool = True,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Every length is checked on a few queries, then timed in turns. Batch 1.

    keep: on a CPU the whole process is made to keep freed memory, for good.
    """
    place = torch.device(device)
    kept = place.type != "cpu" or (keep and keep_freed_memory())
    dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    chosen = lengths(shortest, longest, 4 * heads * dim * dtype.itemsize, free_bytes(place))
    op = parse(LIGHTNING).compile()
    generator = torch.Generator().manual_seed(0)
    works: dict[int, Callable[[], object]] = {}
    errors: dict[int, float] = {}
    for n in chosen:
        tell(f"{n} tokens")
        shape = (1, heads, n, dim)
        q, k, v = (torch.randn(shape, generator=generator).to(place, dtype) for _ in range(3))
        works[n] = partial(_quietly, op, q, k, v)
        problem = parse(PAIRS).problem({"n": n}, heads, head_dim=dim)
        answer = truth(Call(problem, q, k, v, Inputs()), count=8)
        errors[n] = error(_quietly(op, q, k, v)[:, :, answer.rows], answer.out)
    tell("timing")
    seconds: dict[int, list[float]] = {n: [] for n in chosen}
    for _ in range(rounds):
        for n, work in works.items():
            seconds[n].append(clocked(work, place))
    each = {n: statistics.median(s) / n for n, s in seconds.items()}
    return {
        "schema": SCHEMA,
        "device": place.type,
        "case": f"constant decay a head, B=1, H={heads}, D={dim}, {str(dtype)[6:]}, forward",
        "threads": torch.get_num_threads(),
        "target": TARGET,
        "right": all(e <= TOLERANCE[dtype] for e in errors.values()),
        "ratio": max(each.values()) / each[chosen[0]],
        "memory_kept": kept,
        "rows": [
            {
                "length": n,
                "median_s": statistics.median(seconds[n]),
                "min_s": min(seconds[n]),
                "max_s": max(seconds[n]),
                "ns_per_token": 1e9 * each[n],
                "error": errors[n],
            }
            for n in chosen
        ],
    }


def _quietly(op: AttentionOp, *qkv: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = op(*qkv)
    return out


def table(result: dict[str, Any]) -> str:
    """The result as a text table."""
    head = f"{'tokens':>9} {'median':>10} {'spread':>19} {'a token':>10}"
    lines = [result["case"], head]
    for row in result["rows"]:
        spread = f"{1e3 * row['min_s']:.1f} to {1e3 * row['max_s']:.1f} ms"
        lines.append(
            f"{row['length']:>9} {1e3 * row['median_s']:7.1f} ms {spread:>19} "
            f"{row['ns_per_token']:7.0f} ns"
        )
    first = result["rows"][0]["length"]
    lines.append(
        f"the dearest token costs {result['ratio']:.2f} times one at {first} tokens "
        f"(hoped for: at most {result['target']:.2f})"
    )
    if not result["memory_kept"]:
        lines.append("memory went back to the system after every call: part of this is its search")
    return "\n".join(lines)
