"""Triton kernels in a compiled directory: modules, machine code, and what the compiler reported."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from attnlang.cli.failures import UsageError
from attnlang.pattern import Pattern


def kernels(
    pattern: Pattern,
    sizes: Mapping[str, int],
    args: Namespace,
    given: Mapping[str, Any],
    prefix: str = "",
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """A manifest entry for every kernel and target, and the files by name.

    Tiles are those of the plan for ``sizes``; the kernels serve other lengths of that layout too.
    prefix: of the files' names.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise UsageError("Triton interprets here", "unset TRITON_INTERPRET to compile")
    from attnlang.backends.triton.ahead import compile_kernels
    from attnlang.backends.triton.attend import form_of
    from attnlang.backends.triton.choices import Shape
    from attnlang.backends.triton.module import write
    from attnlang.backends.triton.tables import in_order
    from attnlang.backends.triton.target import target
    from attnlang.compiler.ir.expr import Kind, Side
    from attnlang.compiler.layout.cost import slots

    plan = pattern.plan(sizes, args.heads, kv_heads=args.kv_heads, head_dim=args.head_dim, **given)
    sides = {Side.Q: plan.layout.q, Side.K: plan.layout.k}
    blocks = slots(sides[Side.Q].capacity), slots(sides[Side.K].capacity)
    gathered = frozenset(
        s for s, block in zip(Side, blocks, strict=True) if not in_order(sides[s], block)
    )
    shape = Shape(args.dtype, args.head_dim, args.head_dim, blocks)
    learned = frozenset(i.name for i in pattern.ir.inputs if i.kind is Kind.FLOAT)
    entries: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for group in plan.problem.groups:
        form = form_of(plan.problem, group, gathered, frozenset(), learned)
        made = write(pattern.ir, group.index, form)
        module = f"{prefix}group{group.index}.py"
        files[module] = made.text.encode()
        for name in args.machines:
            to = target(name)
            suffixes = ("ptx", "cubin") if to.backend == "cuda" else ("amdgcn", "hsaco")
            for one in compile_kernels(made, to, shape):
                stem = f"{prefix}group{group.index}.{one.kernel}.{to.label}"
                names = [f"{stem}.{s}" for s in suffixes]
                files[names[0]], files[names[1]] = one.text.encode(), one.binary
                report = {k: v for k, v in asdict(one).items() if k not in ("text", "binary")}
                report["dropped"] = [{**asdict(c), "why": why} for c, why in one.dropped]
                entries.append({"module": module, **report, **asdict(shape), "files": names})
    return entries, files


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
