"""The programs of the standard library, and sizes that patterns accept."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import attnlang
from attnlang.compiler.check import open_module, select
from attnlang.compiler.problem.steps import problem_of
from attnlang.compiler.sema.programs import is_program


def programs() -> list[str]:
    """Their names, from their texts alone."""
    names = attnlang.stdlib.names()
    modules = ((n, open_module(attnlang.stdlib.source(n))) for n in names)
    return [n for n, module in modules if is_program(select(module, n))]


@dataclass(frozen=True)
class Fit:
    """A call that a pattern accepts."""

    sizes: dict[str, int]
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def words(self) -> list[str]:
        """The same on a command line."""
        sizes = [word for n, s in self.sizes.items() for word in ("--size", f"{n}={s}")]
        heads = ("--heads", str(self.heads), "--kv-heads", str(self.kv_heads))
        return [*sizes, *heads, "--head-dim", str(self.head_dim)]


def fitting(pattern: attnlang.Pattern) -> Fit:
    """Lengths and heads that a pattern accepts."""
    extras = [s.name for s in pattern.ir.segments if not s.is_grid and s.size is None]
    names = [*pattern.axes, *extras]
    lengths, shorter = (16, 24, 28, 64, 128, 512, 1024), (None, *names[:-1])
    shapes = [(h, k, d) for h in (4, 8, 16, 1) for k in (h, 1, 2) for d in (64, 32, 320, 576)]
    for length, short, (heads, kv_heads, head_dim) in itertools.product(lengths, shorter, shapes):
        sizes = dict.fromkeys(names, length) | ({short: 2} if short else {})
        if heads % kv_heads:
            continue
        try:
            problem_of(pattern.ir, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        except attnlang.PatternError:
            continue
        return Fit(sizes, heads, kv_heads, head_dim)
    raise AssertionError(f"no size fits {pattern.name}")
