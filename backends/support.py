"""Which backends run a pattern. Knows no torch, so that anyone can ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attnlang.backends.blocked import support as blocked
from attnlang.backends.triton import support as triton
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import attentions


def _nothing(pattern: PatternIR) -> tuple[str, ...]:
    return ()


REFUSES: Mapping[str, Callable[[PatternIR], tuple[str, ...]]] = {
    "reference": _nothing,
    "blocked": blocked.refuses,
    "triton": triton.refuses,
}
"""By backend: why it cannot run one attention; empty when it can."""


def refusals(backend: str, pattern: PatternIR) -> tuple[str, ...]:
    """Why a backend cannot run a pattern, or an attention of its program; empty when it can.

    Linear attention runs on every backend.
    """
    if pattern.program is None:
        return REFUSES[backend](pattern)
    return tuple(reason for a in attentions(pattern.program) for reason in REFUSES[backend](a))


def supporting(pattern: PatternIR) -> tuple[str, ...]:
    """The names of the backends that run a pattern."""
    return tuple(name for name in REFUSES if not refusals(name, pattern))
