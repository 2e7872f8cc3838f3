"""What the compiler makes of neighbourhoods in two and three dimensions on Hopper: compiled, no GPU
needed."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.backends.triton.ahead import Compiled, compile_kernels
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import Shape
from attnlang.backends.triton.module import write
from attnlang.backends.triton.tables import build
from attnlang.backends.triton.target import target
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.plan.make import make

pytestmark = pytest.mark.long
SIZES = {
    "neighborhood_2d": {"y": 128, "x": 128},
    "neighborhood_3d": {"t": 30, "y": 48, "x": 80},
}


def compiled(name: str, width: int, **how: bool) -> dict[str, Compiled]:
    problem = attnlang.load(f"stdlib:{name}").problem(SIZES[name], 1, head_dim=width)
    tables = build(make(problem), torch.device("cpu"))
    assert tables.boxed is not None
    form = form_of(
        problem, problem.groups[0], frozenset(tables.tokens), frozenset(), boxed=True,
        alike=tables.boxed.alike, strips=frozenset(tables.strips), **how,
    )  # fmt: skip
    shape = Shape("bf16", width, width, (tables.blocks[Side.Q], tables.blocks[Side.K]))
    kernels = write(problem.pattern, 0, form)
    made = compile_kernels(kernels, target("cuda:90"), shape, tables.boxed, tables.strips)
    return {x.kernel: x for x in made}


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("name", SIZES)
def test_first_choices_spill_nothing_and_use_matrix_units(name: str, width: int) -> None:
    made = compiled(name, width)
    for kernel in ("forward", "split_forward", "query_gradient", "key_gradient"):
        assert made[kernel].tensor_cores, kernel
        assert not made[kernel].dropped, kernel
        assert not made[kernel].spills, kernel
