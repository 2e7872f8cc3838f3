"""What the compiler makes of a pattern whose plan is boxes, as JSON: run where Triton does not
interpret."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import torch

import attnlang
from attnlang.backends.triton.ahead import compile_kernel
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import LARGEST_TILE, Shape, choices
from attnlang.backends.triton.module import write
from attnlang.backends.triton.shape import shape_of
from attnlang.backends.triton.tables import build
from attnlang.backends.triton.target import target
from attnlang.compiler.plan.make import make

SIZES = {
    "neighborhood_2d": {"y": 128, "x": 128},
    "neighborhood_3d": {"t": 30, "y": 48, "x": 80},
}


def compiled(name: str, width: int, machine: str, *, described: bool) -> dict[str, object]:
    """By kernel: registers' worth of spills, whether matrix instructions and tensor copies are in
    it, and whether it is the first choice."""
    problem = attnlang.load(f"stdlib:{name}").problem(SIZES[name], 1, head_dim=width)
    tables = build(make(problem), torch.device("cpu"))
    assert tables.boxed is not None
    assert tables.boxed.solid
    form = form_of(
        problem, problem.groups[0], tables.tiles(), frozenset(), described=described,
        carved=tables.solid if described else frozenset(),
    )  # fmt: skip
    shape = Shape("bf16", width, width, (LARGEST_TILE, LARGEST_TILE))
    kernels = write(problem.pattern, 0, form)
    found: dict[str, object] = {}
    for kernel in (x for x in kernels.all if x is not kernels.merge):
        own = shape_of(kernel, shape, tables, 1)
        made = compile_kernel(kernels.text, kernel, target(machine), own)
        first = next(choices(kernel.function.name, own, kernel.stands_on_keys))
        text = made.built.text
        found[made.kernel] = {
            "spills": made.built.spills,
            "matrix": made.built.tensor_cores,
            "copies": any(f"cp.async.bulk.tensor.{n}d" in text for n in (4, 5)),
            "first": replace(made.choice, maxnreg=None) == first,
        }
    return found


if __name__ == "__main__":
    pattern, dims, device, how = sys.argv[1:]
    print(json.dumps(compiled(pattern, int(dims), device, described=how == "described")))
