"""Which backend runs a call. A requested backend never silently becomes another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from attnlang.backends.blocked import attend as blocked
from attnlang.backends.blocked import support as blocked_support
from attnlang.backends.call import Call
from attnlang.backends.reference import attend as reference
from attnlang.backends.triton import attend as triton
from attnlang.backends.triton import support as triton_support
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import attentions as steps

Run = Callable[[Call], tuple[torch.Tensor, torch.Tensor | None]]


@dataclass(frozen=True, slots=True)
class Backend:
    """refuses: why a pattern cannot run here; the empty tuple when it can."""

    name: str
    run: Run
    refuses: Callable[[PatternIR], tuple[str, ...]]


def _nothing(pattern: PatternIR) -> tuple[str, ...]:
    return ()


BACKENDS: dict[str, Backend] = {
    "reference": Backend("reference", reference.attend, _nothing),
    "blocked": Backend("blocked", blocked.attend, blocked_support.refuses),
    "triton": Backend("triton", triton.attend, triton_support.refuses),
}
AUTO = "auto"


def check(name: str, pattern: PatternIR) -> None:
    """Raises ValueError for an unknown backend, Unsupported when it refuses the pattern."""
    if name == AUTO:
        return
    if name not in BACKENDS:
        hint = did_you_mean(name, [*BACKENDS, AUTO])
        raise ValueError(f"there is no backend {name!r}; {hint}")
    for attention in attentions(pattern):
        reasons = BACKENDS[name].refuses(attention)
        if reasons:
            raise Unsupported(reasons[0], name, "backend='reference'")


def attentions(pattern: PatternIR) -> tuple[PatternIR, ...]:
    """The pattern, or the attentions of its program: what a backend is given one by one."""
    return (pattern,) if pattern.program is None else tuple(steps(pattern.program))


def supporting(pattern: PatternIR) -> tuple[str, ...]:
    """The names of the backends that run a pattern."""
    parts = attentions(pattern)
    return tuple(b.name for b in BACKENDS.values() if not any(map(b.refuses, parts)))


def choose(device: torch.device, pattern: PatternIR) -> str:
    """What ``auto`` stands for on a device: the trainable block-sparse executor, on any, for every
    pattern it can run."""
    return "reference" if BACKENDS["blocked"].refuses(pattern) else "blocked"


def run(name: str, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run one call. Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``."""
    return BACKENDS[choose(call.q.device, call.problem.pattern) if name == AUTO else name].run(call)
