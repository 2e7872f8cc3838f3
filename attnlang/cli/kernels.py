"""Triton kernels in a compiled directory: modules, machine code, and what the compiler reported."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnlang.cli.failures import UsageError
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.pattern import Pattern

if TYPE_CHECKING:
    from attnlang.backends.ahead.directory import Made


def compiled(pattern: Pattern, sizes: Mapping[str, int], args: Namespace, text: str) -> Made:
    """Everything that is compiled for every target. text: of the pattern.

    Raises UsageError where Triton interprets, Unsupported where there is nothing to compile.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise UsageError("Triton interprets here", "unset TRITON_INTERPRET to compile")
    from attnlang.backends.ahead.directory import compile_pattern, compile_step

    heads = {"kv_heads": args.kv_heads, "head_dim": args.head_dim}
    values = ", ".join(f"{name}={value}" for name, value in pattern.params.items())
    about = [f"{pattern.name}({values}), hash {pattern.hash}", "", *text.rstrip().splitlines()]
    if pattern.ir.outer is not None:
        problem = pattern.problem(sizes, args.heads, **heads)
        return compile_step(problem, sizes, args.machines, args.dtype)
    if pattern.ir.program is not None:
        bound = pattern.bound(sizes, args.heads, **heads)
        made = compile_pattern(bound, sizes, args.machines, args.dtype, about)
        if not made.kernels and made.without:
            why = next(iter(made.without.values()))
            feature = f"compiling `{pattern.name}` ahead: {why}"
            raise Unsupported(feature, "triton", "attnlang compile without --target")
        return made
    problem = pattern.problem(sizes, args.heads, **heads)
    return compile_pattern(problem, sizes, args.machines, args.dtype, about)


def described(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each kernel."""
    for x in entries:
        unit = "matrix instructions" if x["tensor_cores"] else "no matrix instructions"
        spills = f"{x['spills']} spilled" if x["spills"] else "none spilled"
        step = f"{x['step']}: " if "step" in x else ""
        yield (
            f"{step}{x['target']:<10} {x['kernel']:<14} {x['registers']} registers, {spills}, "
            f"{x['shared'] // 1024} KiB shared, {unit}"
        )
