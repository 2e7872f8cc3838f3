"""Which backend runs a call. A requested backend never silently becomes another."""

from __future__ import annotations

from collections.abc import Callable

import torch

from attnlang.backends.blocked import attend as blocked
from attnlang.backends.call import Call
from attnlang.backends.reference import attend as reference
from attnlang.backends.support import refusals
from attnlang.backends.triton import attend as triton
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.pattern import PatternIR

Run = Callable[[Call], tuple[torch.Tensor, torch.Tensor | None]]

BACKENDS: dict[str, Run] = {
    "reference": reference.attend,
    "blocked": blocked.attend,
    "triton": triton.attend,
}
AUTO = "auto"


def check(name: str, pattern: PatternIR) -> None:
    """Raises ValueError for an unknown backend, Unsupported when it refuses the pattern."""
    if name == AUTO:
        return
    if name not in BACKENDS:
        hint = did_you_mean(name, [*BACKENDS, AUTO])
        raise ValueError(f"there is no backend {name!r}; {hint}")
    reasons = refusals(name, pattern)
    if reasons:
        raise Unsupported(reasons[0], name, "backend='reference'")


def choose(device: torch.device, pattern: PatternIR) -> str:
    """What ``auto`` stands for on a device: the trainable block-sparse executor, on any, for every
    pattern it can run."""
    return "reference" if refusals("blocked", pattern) else "blocked"


def run(name: str, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run one call. Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``."""
    chosen = choose(call.q.device, call.problem.pattern) if name == AUTO else name
    return BACKENDS[chosen](call.dense() if chosen == reference.NAME else call)
