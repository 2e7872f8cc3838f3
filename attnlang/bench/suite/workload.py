"""A workload: a pattern at the shapes of a paper's headline figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch

from attnlang.api import load, parse
from attnlang.pattern import Pattern

Scale: TypeAlias = Literal["cuda", "cpu", "quick"]
"""Sizes as in the paper, sizes of the same ratios for a processor, and those of a quick look."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a workload is called with. kv_heads: None is as many as heads."""

    sizes: Mapping[str, int]
    heads: int
    dim: int
    params: Mapping[str, object] = field(default_factory=dict)
    kv_heads: int | None = None
    batch: int = 1


Inputs: TypeAlias = Mapping[str, torch.Tensor]
Draw: TypeAlias = Callable[[Shape, torch.Generator], Inputs]


def nothing(shape: Shape, generator: torch.Generator) -> Inputs:
    """No run-time tensors."""
    return {}


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the suite, at each scale one shape or more.

    pattern: ``stdlib:name``, or the text of one. claim: the figure behind it, and whose.
    Of a program the last attention is measured; what it selects is chosen before and given to
    every contender alike. inputs: draws the run-time tensors on the CPU. definition: for a linear
    attention, the pattern of all pairs that it equals. kin: other libraries that have this very
    attention.
    """

    name: str
    pattern: str
    claim: str
    shapes: Mapping[Scale, tuple[Shape, ...]]
    inputs: Draw = nothing
    definition: str | None = None
    kin: tuple[str, ...] = ()

    def load(self, shape: Shape) -> Pattern:
        """The pattern with the shape's parameters."""
        if self.pattern.startswith("stdlib:"):
            return load(self.pattern, **shape.params)
        return parse(self.pattern, **dict[str, Any](shape.params))
