"""What of one attention is written and launched by itself: heads of one group and one layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from attnlang.backends.triton.boxes import BoxWalk, box_walk
from attnlang.backends.triton.choices import Shape
from attnlang.backends.triton.descriptors import grid_fits
from attnlang.backends.triton.form import Form, Kernel, Tiles
from attnlang.backends.triton.module import Kernels, write
from attnlang.backends.triton.strips import Strips
from attnlang.backends.triton.tables import in_order, strips, tiles_of
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.layout.cost import slots
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.heads import stretches
from attnlang.compiler.problem.problem import BoundGroup, Problem


@dataclass(frozen=True, slots=True)
class Module:
    """A file, and which of its kernels are launched."""

    name: str
    text: str
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Heads of one layout. name: what the names of its tables begin with, and of its files. shape:
    of its tiles."""

    plan: Plan
    name: str
    shape: Shape
    tiles: Tiles
    boxed: BoxWalk | None
    strips: Mapping[Side, Strips]


def cuts_of(plan: Plan, dtype: str, width: int, value_width: int) -> list[Cut]:
    """The layouts of a plan."""
    found = []
    cpu = torch.device("cpu")
    for i, part in enumerate(plan.parts):
        sides = {Side.Q: part.layout.q, Side.K: part.layout.k}
        blocks = {side: slots(tiling.capacity) for side, tiling in sides.items()}
        gathered = [s for s, block in blocks.items() if not in_order(sides[s], block)]
        boxes = [g.boxes for g in part.heads if g.boxes is not None]
        axes = len(plan.problem.pattern.axes(Side.K))
        walk = box_walk(boxes, axes, cpu) if len(boxes) == len(part.heads) else None
        name = f"part{i}." if len(plan.parts) > 1 else ""
        shape = Shape(dtype, width, value_width, (blocks[Side.Q], blocks[Side.K]))
        made = strips(part, cpu)
        tiles = tiles_of(blocks, gathered, made, walk)
        found.append(Cut(part, name, shape, tiles, walk, made))
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """Heads that share kernels and a layout. described: those that read tiles by tensor
    descriptors, where there are any; `module` has them all, by pointers."""

    group: BoundGroup
    cut: Cut
    form: Form
    kernels: Kernels
    module: Module
    described: Module | None


def part_of(
    problem: Problem, group: BoundGroup, cut: Cut, form: Form, prefix: str, *, described: bool
) -> Part:
    """What is written of a group's heads of one layout. form: of kernels that read by pointers.
    prefix: of its files. described: are those that could read by descriptors written too?"""
    stem = f"{prefix}{cut.name}group{group.index}"
    plain = write(problem.pattern, group.index, form)
    part = Part(group, cut, form, plain, Module(f"{stem}.py", plain.text, plain.all), None)
    if not described:
        return part
    boxes = cut.boxed is not None and cut.boxed.solid
    carved = boxes and grid_fits(len(problem.pattern.axes(Side.K)))
    second = write(problem.pattern, group.index, replace(form, described=True, carved=carved))
    mine = tuple(k for k in second.all if k.described)
    own = Module(f"{stem}.descriptors.py", second.text, mine) if mine else None
    return replace(part, described=own)


def heads_of(part: Part) -> list[range]:
    """Those of a part, for which its kernels are launched."""
    group = part.group
    return stretches(h for h in part.cut.plan.all_heads if group.start <= h < group.stop)
