"""One example of a call, for pictures of what only the data decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from attnlang.cli.draws import SEED, draw_inputs, draw_tensors, generator, tensor_of
from attnlang.cli.tensors import Tensors, batch_of
from attnlang.compiler.problem.program import BoundProgram
from attnlang.pattern import Pattern


@dataclass(frozen=True, eq=False)
class Example:
    """sets: what every selection chose for the first batch element. inputs: of the call."""

    sets: Mapping[str, NDArray[Any]]
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
    sets = pattern.compile().select(q, k, v, sizes, **inputs)
    names = ", ".join(["q", "k", *drawn])
    return Example(
        {n: x[0].numpy() for n, x in sets.items()},
        {**given, **drawn},
        f"an example: {names} at random, seed {SEED}",
    )
