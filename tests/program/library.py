"""The programs of the standard library, for tests of all of them."""

from __future__ import annotations

import itertools

import attnlang
from attnlang.compiler.check import open_module, select
from attnlang.compiler.sema.programs import is_program


def programs() -> list[str]:
    """Their names, from their texts alone."""
    names = attnlang.stdlib.names()
    modules = ((n, open_module(attnlang.stdlib.source(n))) for n in names)
    return [n for n, module in modules if is_program(select(module, n))]


def fitting(pattern: attnlang.Pattern) -> tuple[dict[str, int], int]:
    """Lengths and heads that a program accepts."""
    extras = [s.name for s in pattern.ir.segments if not s.is_grid and s.size is None]
    names = [*pattern.axes, *extras]
    for length, short, heads in itertools.product((16, 28, 64, 512, 1024), (None, 2), (4, 8, 16)):
        sizes = dict.fromkeys(names, length) | (
            {names[-2]: short} if short and len(names) > 1 else {}
        )
        try:
            pattern.bound(sizes, heads)
        except attnlang.PatternError:
            continue
        return sizes, heads
    raise AssertionError(f"no size fits {pattern.name}")
