"""What the manifest says of one attention for `runtime.launch` to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from attnlang.backends.ahead.parts import Cut, Part, heads_of
from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.form import Kernel
from attnlang.backends.triton.launch import number_of
from attnlang.backends.triton.tables import Tables, arrays
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl, Normaliser
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.problem.steps import rebind

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
LONG = (1 << 26, 1 << 22, 1 << 18)
"""Lengths that a kernel without tables is asked to hold for, the longest first."""


def launched(
    problem: Problem, sizes: Mapping[str, int], parts: Sequence[Part], prefix: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the manifest says of one attention under "launch", and its plan as a file.

    sizes: of the whole pattern. prefix: of the names of its files.
    """
    read = {_read(x) for part in parts for kernel in part.kernels.all for x in kernel.extra}
    tables: dict[str, Tables] = {}
    for part in parts:
        if any(not k.closed for k in part.kernels.all):
            tables[part.cut.name] = part.cut.tables
    stored = {f"{own}{n}": x for own, made in tables.items() for n, x in _stored(made).items()}
    name = f"{prefix}tables.bin"
    shape = parts[0].cut.open
    launch = {
        "dtype": DTYPES[shape.dtype],
        "heads": problem.heads,
        "kv_heads": problem.kv_heads,
        "head_dim": shape.head_dim,
        "value_dim": shape.value_dim,
        "tokens": {"q": problem.q_len, "k": problem.k_len},
        "longest": _longest(problem, {} if tables else sizes, parts),
        "inputs": [_declared(i) for i in problem.pattern.inputs if i.name in read],
        "values": _values(problem),
        "groups": [
            {"group": problem.groups.index(part.group), "heads": [heads.start, heads.stop], **about}
            for part in parts
            for about in [_group(problem, part)]
            for heads in heads_of(part)
        ],
        "plan": name if stored else None,
        "tables": {name: list(x.shape) for name, x in stored.items()},
    }
    if not stored:
        return launch, {}
    every = torch.cat([x.ravel() for x in stored.values()])
    return launch, {name: every.numpy().astype("<i4").tobytes()}


def _read(argument: a.Argument) -> str | None:
    """The run-time tensor that an argument points to."""
    match argument:
        case a.TokenTensor(input=name) | a.TableTensor(table=name):
            return name
        case _:
            return None


def _stored(tables: Tables) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for side in Side:
        for name, x in arrays(tables, side is Side.K).items():
            if isinstance(x, torch.Tensor):
                shared = name.startswith(("classes", "tokens_", "strips_"))
                found[name if shared else f"by_{side}.{name}"] = x
    return found


def _group(problem: Problem, part: Part) -> dict[str, Any]:
    group = part.group
    modules = [part.module, *([] if part.described is None else [part.described])]
    scale = None if group.attend.scale is None else value_of(group.attend.scale)
    used = dict.fromkeys(x for m in modules for kernel in m.kernels for x in kernel.extra)
    recipes = {x.name: _recipe(x, problem) for x in used}
    kernels, *described = (
        {k.function.name: {"module": m.name, **_kernel(k, part.cut)} for k in m.kernels}
        for m in modules
    )
    return {
        "tables": part.cut.name,
        "softmax": group.attend.normaliser is Normaliser.SOFTMAX,
        "row_maxes": len(part.kernels.row_maxes),
        "scale": scale if group.attend.scale is None or scale is not None else 1.0,
        "kernels": kernels,
        "described": described[0] if described else {},
        "arguments": {name: recipe for name, recipe in recipes.items() if recipe is not None},
    }


def _kernel(kernel: Kernel, cut: Cut) -> dict[str, Any]:
    own = cut.shape_of(kernel)
    known: dict[str, Any] = {
        "stands_on": "k" if kernel.stands_on_keys else "q", "packed": kernel.packed,
        "closed": kernel.closed, "described": list(kernel.described),
        "shape": asdict(own),
    }  # fmt: skip
    if not kernel.closed:
        known["rows"] = arrays(cut.tables, kernel.stands_on_keys)["rows"]
    if kernel.carved:
        known["carved"] = list(kernel.carved)
        moving = Side.Q if kernel.stands_on_keys else Side.K
        grid = grid_of(cut.plan.problem.extents(moving))
        known["grid"] = {"start": grid.start, "lengths": list(grid.lengths)}
    return known


def _recipe(argument: a.Argument, problem: Problem) -> int | str | None:
    """A number, or the name of one that a call decides; None where the launcher has it by the
    argument's own name."""
    match argument:
        case a.Origin(side=Side.Q):
            return "q_offset"
        case a.AxisLength(side=side) | a.SegmentStop(side=side) if _one_run(problem, side):
            return f"length_{side}"
        case a.AxisLength() | a.SegmentStart() | a.SegmentStop() | a.Origin() | a.Count():
            return number_of(argument, problem)
        case _:
            return None


def _one_run(problem: Problem, side: Side) -> bool:
    extents = problem.extents(side)
    return len(extents) == 1 and len(extents[0].axes) == 1


def _longest(problem: Problem, sizes: Mapping[str, int], parts: Sequence[Part]) -> int:
    """A length for which the same text is right: integers stay within theirs. sizes: those that
    may differ."""
    compiled = max(problem.q_len, problem.k_len)
    for length in (n for n in LONG if sizes and n > compiled):
        try:
            longer = rebind(problem, dict.fromkeys(sizes, length), problem.head_dim)
        except PatternError:
            continue
        forms = (
            form_of(
                longer, longer.groups[problem.groups.index(part.group)], form.tiles, form.absent,
                form.learned, together=form.together,
            )
            for part in parts
            for form in [part.form]
        )  # fmt: skip
        if all(x == part.form for x, part in zip(forms, parts, strict=True)):
            return max(length, longer.q_len, longer.k_len)
    return compiled


def _declared(decl: InputDecl) -> dict[str, Any]:
    dims = sum(d != "batch" for d in decl.dims)
    sides = [str(s) for s in decl.sides]
    return {"name": decl.name, "kind": str(decl.kind), "dims": dims, "sides": sides}


def _values(problem: Problem) -> list[dict[str, Any]]:
    """Parameters of one value for each head, which kernels read as tables."""
    found = []
    for name, value in problem.pattern.values:
        if isinstance(value, tuple):
            entries = value * problem.heads if len(value) == 1 else value
            kind = next(
                k for k, t in ((Kind.BOOL, bool), (Kind.INT, int), (Kind.FLOAT, object))
                if all(isinstance(x, t) for x in entries)
            )  # fmt: skip
            found.append({"name": name, "kind": str(kind), "entries": [*entries]})
    return found
