"""What of one attention is written and launched by itself: heads of one group and one layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from attnlang.backends.triton.choices import LARGEST_TILE, Shape
from attnlang.backends.triton.descriptors import grid_fits
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.module import Kernels, write
from attnlang.backends.triton.shape import shape_of
from attnlang.backends.triton.tables import Tables, build
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
    """Heads of one layout. name: what the names of its tables begin with, and of its files. open:
    the shape of kernels that need no plan."""

    plan: Plan
    name: str
    open: Shape
    tables: Tables

    def shape_of(self, kernel: Kernel) -> Shape:
        """The shape of one of the kernels that are launched for them."""
        group = self.plan.problem.heads // self.plan.problem.kv_heads
        return shape_of(kernel, self.open, self.tables, group)


def cuts_of(plan: Plan, dtype: str, width: int, value_width: int) -> list[Cut]:
    """The layouts of a plan."""
    found = []
    cpu = torch.device("cpu")
    shape = Shape(dtype, width, value_width, (LARGEST_TILE, LARGEST_TILE))
    for i, part in enumerate(plan.parts):
        made = build(part, cpu)
        name = f"part{i}." if len(plan.parts) > 1 else ""
        found.append(Cut(part, name, shape, made))
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
    fits = (side for side in cut.tables.solid if grid_fits(len(problem.pattern.axes(side))))
    carved = frozenset(fits)
    second = write(problem.pattern, group.index, replace(form, described=True, carved=carved))
    mine = tuple(k for k in second.all if k.described)
    own = Module(f"{stem}.descriptors.py", second.text, mine) if mine else None
    return replace(part, described=own)


def heads_of(part: Part) -> list[range]:
    """Those of a part, for which its kernels are launched."""
    group = part.group
    return stretches(h for h in part.cut.plan.all_heads if group.start <= h < group.stop)
