"""What the compiler makes of a pattern whose plan is boxes, as JSON: run where Triton does not
interpret."""

from __future__ import annotations

import json
import sys

import torch

import attnlang
from attnlang.backends.triton.ahead import compile_kernels
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import Shape
from attnlang.backends.triton.module import write
from attnlang.backends.triton.tables import build
from attnlang.backends.triton.target import target
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.plan.make import make

SIZES = {
    "neighborhood_2d": {"y": 128, "x": 128},
    "neighborhood_3d": {"t": 30, "y": 48, "x": 80},
}


def compiled(name: str, width: int, machine: str, *, described: bool) -> dict[str, object]:
    """By kernel: registers' worth of spills, whether matrix instructions and tensor copies are in
    it, and the choices before it that did not fit."""
    problem = attnlang.load(f"stdlib:{name}").problem(SIZES[name], 1, head_dim=width)
    tables = build(make(problem), torch.device("cpu"))
    assert tables.boxed is not None
    assert tables.boxed.solid
    form = form_of(
        problem, problem.groups[0], frozenset(tables.tokens), frozenset(), boxed=True,
        alike=tables.boxed.alike, strips=frozenset(tables.strips), described=described,
        carved=described,
    )  # fmt: skip
    shape = Shape("bf16", width, width, (tables.blocks[Side.Q], tables.blocks[Side.K]))
    kernels = write(problem.pattern, 0, form)
    made = compile_kernels(kernels, target(machine), shape, tables.boxed, tables.strips)
    return {
        x.kernel: {
            "spills": x.spills,
            "matrix": x.tensor_cores,
            "copies": "cp.async.bulk.tensor.5d" in x.text or "cp.async.bulk.tensor.4d" in x.text,
            "dropped": len(x.dropped),
        }
        for x in made
        if x.kernel != "merge"
    }


if __name__ == "__main__":
    pattern, dims, device, how = sys.argv[1:]
    print(json.dumps(compiled(pattern, int(dims), device, described=how == "described")))
