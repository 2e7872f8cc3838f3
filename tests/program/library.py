"""The programs of the standard library, and sizes that patterns accept."""

from __future__ import annotations

import itertools

import attnlang
from attnlang.compiler.check import open_module, select
from attnlang.compiler.problem.steps import problem_of
from attnlang.compiler.sema.programs import is_program


def programs() -> list[str]:
    """Their names, from their texts alone."""
    names = attnlang.stdlib.names()
    modules = ((n, open_module(attnlang.stdlib.source(n))) for n in names)
    return [n for n, module in modules if is_program(select(module, n))]


HEADS = ((4, 4, 64), (8, 8, 64), (16, 16, 64), (1, 1, 64), (4, 4, 32), (4, 1, 576), (4, 2, 320))
"""Query heads, key heads and features: the last are those of latent attention."""


def fitting(pattern: attnlang.Pattern) -> tuple[dict[str, int], tuple[int, int, int]]:
    """Lengths and heads that a pattern accepts."""
    extras = [s.name for s in pattern.ir.segments if not s.is_grid and s.size is None]
    names = [*pattern.axes, *extras]
    lengths = (16, 24, 28, 64, 128, 512, 1024)
    for length, short, heads in itertools.product(lengths, (None, *names[:-1]), HEADS):
        sizes = dict.fromkeys(names, length) | ({short: 2} if short else {})
        try:
            problem_of(pattern.ir, sizes, heads=heads[0], kv_heads=heads[1], head_dim=heads[2])
        except attnlang.PatternError:
            continue
        return sizes, heads
    raise AssertionError(f"no size fits {pattern.name}")
