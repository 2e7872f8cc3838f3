"""Triton kernels in a compiled directory: modules, machine code, and what the compiler reported."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

from attnlang.cli.failures import UsageError
from attnlang.pattern import Pattern


def kernels(
    pattern: Pattern, sizes: Mapping[str, int], args: Namespace, step: str = ""
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the manifest says of the kernels, for every target, and of how they are launched; and
    the files by name.

    Tiles are those of the plan for ``sizes``, whatever the run-time tensors. step: of a program,
    which has no launcher; its files begin with the name.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise UsageError("Triton interprets here", "unset TRITON_INTERPRET to compile")
    import torch

    from attnlang.backends.triton.ahead import compile_kernels
    from attnlang.backends.triton.attend import form_of
    from attnlang.backends.triton.boxes import box_walk
    from attnlang.backends.triton.choices import Shape
    from attnlang.backends.triton.module import write
    from attnlang.backends.triton.package import module_name, package
    from attnlang.backends.triton.tables import in_order
    from attnlang.backends.triton.target import target
    from attnlang.compiler.ir.expr import Kind, Side
    from attnlang.compiler.layout.cost import slots

    plan = pattern.plan(sizes, args.heads, kv_heads=args.kv_heads, head_dim=args.head_dim)
    sides = {Side.Q: plan.layout.q, Side.K: plan.layout.k}
    blocks = slots(sides[Side.Q].capacity), slots(sides[Side.K].capacity)
    gathered = frozenset(
        s for s, block in zip(Side, blocks, strict=True) if not in_order(sides[s], block)
    )
    boxes = [g.boxes for g in plan.heads if g.boxes is not None]
    walk = box_walk(boxes, torch.device("cpu")) if len(boxes) == len(plan.heads) else None
    shape = Shape(args.dtype, args.head_dim, args.head_dim, blocks)
    learned = frozenset(i.name for i in pattern.ir.inputs if i.kind is Kind.FLOAT)
    entries: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    parts = []
    prefix = f"{step}." if step else ""
    machines = [target(name) for name in args.machines]
    variants = (False, True) if any(to.describes for to in machines) else (False,)
    for group, described in product(plan.problem.groups, variants):
        form = form_of(
            plan.problem, group, gathered, frozenset(), learned, boxed=walk is not None,
            described=described,
        )  # fmt: skip
        made = write(pattern.ir, group.index, form)
        if described and not any(kernel.described for kernel in made.all):
            continue
        parts.append((group, form, made))
        own = replace(shape, described=described)
        module = prefix + module_name(group, form)
        files[module] = made.text.encode()
        for to in (x for x in machines if x.describes or not described):
            suffixes = ("ptx", "cubin") if to.backend == "cuda" else ("amdgcn", "hsaco")
            for one in compile_kernels(made, to, shape, walk):
                stem = f"{module.removesuffix('.py')}.{one.kernel}.{to.label}"
                names = [f"{stem}.{s}" for s in suffixes]
                files[names[0]], files[names[1]] = one.text.encode(), one.binary
                report = {k: v for k, v in asdict(one).items() if k not in ("text", "binary")}
                report["dropped"] = [{**asdict(c), "why": why} for c, why in one.dropped]
                entries.append({"module": module, **report, **asdict(own), "files": names})
    if step:
        return {"kernels": entries}, files
    launch, more = package(plan, sizes, parts, shape)
    return {"kernels": entries, "launch": launch}, files | more


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
