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


def fitting(pattern: attnlang.Pattern) -> tuple[dict[str, int], int, int]:
    """Lengths, heads and their width that a pattern accepts."""
    extras = [s.name for s in pattern.ir.segments if not s.is_grid and s.size is None]
    names = [*pattern.axes, *extras]
    lengths = (16, 24, 28, 64, 128, 512, 1024)
    shapes = itertools.product((None, *names[:-1]), (4, 8, 16, 1, 2), (64, 32, 320, 576))
    for (short, heads, width), length in itertools.product(shapes, lengths):
        sizes = dict.fromkeys(names, length) | ({short: 2} if short else {})
        try:
            problem_of(pattern.ir, sizes, heads=heads, head_dim=width)
        except attnlang.PatternError:
            continue
        return sizes, heads, width
    raise AssertionError(f"no size fits {pattern.name}")
