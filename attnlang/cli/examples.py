"""One example of a call, for pictures of what only the data decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from attnlang.cli.draws import SEED, draw_inputs, draw_tensors, generator, tensor_of
from attnlang.cli.tensors import Tensors, batch_of
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.problem.program import BoundProgram
from attnlang.pattern import Pattern


@dataclass(frozen=True, eq=False)
class Example:
    """sets: what every selection chose for the first batch element. numbers: of tokens, that steps
    made, where all heads have the same. inputs: of the call."""

    sets: Mapping[str, NDArray[Any]]
    numbers: Mapping[tuple[str, Side], NDArray[Any]]
    inputs: Tensors
    caption: str


def example(
    pattern: Pattern, made: BoundProgram, sizes: Mapping[str, int], given: Tensors
) -> Example:
    """Select from random tensors; those that are given are used."""
    source, batch = generator(), batch_of(given, pattern.ir)
    q, k, v = draw_tensors(made.frame, made.frame.head_dim, source, batch)
    drawn = draw_inputs(made.frame, given, source)
    inputs = {n: tensor_of(x) for n, x in given.items()} | drawn
    run = pattern.compile().trace(q, k, v, sizes, **inputs)
    assert run is not None
    declared = {i.name for i in pattern.ir.inputs}
    tokens = {x: t[0, 0] for x, t in run.inputs.tokens.items() if x[0] not in declared}
    same = all(t.shape[1] == 1 or made.frame.heads == 1 for t in run.inputs.tokens.values())
    names = ", ".join(["q", "k", *drawn])
    return Example(
        {n: x[0].numpy() for n, x in run.sets.items()},
        {x: t.detach().numpy() for x, t in tokens.items()} if same else {},
        {**given, **drawn},
        f"an example: {names} at random, seed {SEED}",
    )
