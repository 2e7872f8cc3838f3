"""What a compiled directory needs beside its kernels to be run by itself: see standalone.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import Shape, padded
from attnlang.backends.triton.launch import number_of
from attnlang.backends.triton.module import Kernels
from attnlang.backends.triton.tables import Tables, arrays, build
from attnlang.backends.triton.writer import Form, Kernel
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import EmptyRule, InputDecl
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.problem import BoundGroup, Problem

LAUNCHER = Path(__file__).with_name("standalone.py")
DESCRIPTORS = Path(__file__).with_name("descriptors.py")
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
LONG = (1 << 26, 1 << 22, 1 << 18)
"""Lengths that a kernel without tables is asked to hold for, the longest first."""

Part = tuple[BoundGroup, Form, Kernels]


def package(
    plan: Plan, sizes: Mapping[str, int], parts: Sequence[Part], shape: Shape
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest's "launch", and the files that go with it; only why not, where the launcher
    cannot run the pattern. plan: made without run-time tensors, for any. parts: of each group, one
    that reads by pointers, and maybe one that reads by descriptors."""
    problem = plan.problem
    described = {group.index: (group, form, made) for group, form, made in parts if form.described}
    parts = [part for part in parts if not part[1].described]
    if any(group.attend.empty is not EmptyRule.ZERO for group, _, _ in parts):
        return {"refused": "rows without keys have a rule"}, {}
    used = (x for _, _, made in parts for kernel in _launched(made) for x in kernel.extra)
    read = {_read(x) for x in used}
    if any(i.optional and i.name in read for i in problem.pattern.inputs):
        return {"refused": "inputs are optional"}, {}
    tabled = any(not k.closed for _, _, made in parts for k in _launched(made))
    tables = build(plan, torch.device("cpu")) if tabled else None
    stored = _stored(tables) if tables is not None else {}
    launch = {
        "dtype": DTYPES[shape.dtype],
        "padded": padded(shape.head_dim),
        "longest": _longest(problem, sizes if tables is None else {}, parts),
        "sink": any(form.sink for _, form, _ in parts),
        "inputs": [_declared(i) for i in problem.pattern.inputs if i.name in read],
        "values": _values(problem),
        "groups": [
            {
                **_group(problem, part, tables),
                "described": _group(problem, described[part[0].index], tables)
                if part[0].index in described
                else None,
            }
            for part in parts
        ],
        "tables": {name: x.numel() for name, x in stored.items()},
    }
    files = {"attention.py": LAUNCHER.read_bytes(), "descriptors.py": DESCRIPTORS.read_bytes()}
    if stored:
        files["tables.bin"] = (
            torch.cat([x.ravel() for x in stored.values()]).numpy().astype("<i4").tobytes()
        )
    return launch, files


def module_name(group: BoundGroup, form: Form) -> str:
    return f"group{group.index}{'.descriptors' if form.described else ''}.py"


def _launched(made: Kernels) -> tuple[Kernel, ...]:
    return (made.forward, made.split_forward, made.merge, made.query_gradient, made.key_gradient)


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
                shared = name.startswith(("classes", "tokens_"))
                found[name if shared else f"by_{side}.{name}"] = x
    return found


def _group(problem: Problem, part: Part, tables: Tables | None) -> dict[str, Any]:
    group, form, made = part
    scale = None if group.attend.scale is None else value_of(group.attend.scale)
    used = dict.fromkeys(x for kernel in _launched(made) for x in kernel.extra)
    recipes = {x.name: _recipe(x, problem) for x in used}
    return {
        "module": module_name(group, form),
        "heads": [group.start, group.stop],
        "scale": scale if group.attend.scale is None or scale is not None else 1.0,
        "kernels": {k.function.name: _kernel(k, tables) for k in _launched(made)},
        "arguments": {name: recipe for name, recipe in recipes.items() if recipe is not None},
        "leaves": {
            f"d_leaf{x.number}": str(x.stands_on) for x in made.leaves if x.stands_on is not None
        },
    }


def _kernel(kernel: Kernel, tables: Tables | None) -> dict[str, Any]:
    standing, moving = (Side.K, Side.Q) if kernel.stands_on_keys else (Side.Q, Side.K)
    known: dict[str, Any] = {
        "stands_on": str(standing), "packed": kernel.packed, "tables": None,
        "described": list(kernel.described),
    }  # fmt: skip
    if not kernel.closed and tables is not None:
        known["tables"] = f"by_{standing}"
        known["rows"] = arrays(tables, kernel.stands_on_keys)["rows"]
        boxed = tables.boxed if kernel.boxed else None
        block = tables.blocks[moving] if boxed is None else boxed.block
        known["blocks"] = [tables.blocks[standing], block]
        known["whole"] = boxed is not None and boxed.whole
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
        longer = bind(
            problem.pattern, dict.fromkeys(sizes, length), heads=problem.heads,
            kv_heads=problem.kv_heads, head_dim=problem.head_dim,
        )  # fmt: skip
        forms = (
            form_of(
                longer,
                longer.groups[i],
                form.gathered,
                form.absent,
                form.learned,
                boxed=form.boxed,
                listed=form.listed,
            )
            for i, (_, form, _) in enumerate(parts)
        )
        if all(x == form for x, (_, form, _) in zip(forms, parts, strict=True)):
            return length
    return compiled


def _declared(decl: InputDecl) -> dict[str, Any]:
    dims = [d if isinstance(d, str) else to_text(d) for d in decl.dims]
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
