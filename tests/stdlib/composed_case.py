"""One call at which a composed pattern is compared with its oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

import attnlang
from tests.oracles.composed import Call

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One call. learned: shapes of float inputs drawn at random, falling: of those below 0; inputs:
    those given as they are."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 2
    kv_heads: int = 2
    learned: Mapping[str, Shape] = field(default_factory=dict)
    inputs: Mapping[str, list[Any]] = field(default_factory=dict)
    falling: Mapping[str, Shape] = field(default_factory=dict)
    widths: tuple[int, int] = (4, 3)
    shapes: tuple[Shape, Shape, Shape] | None = None
    batch: int = 2

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @cached_property
    def call(self) -> Call:
        """Drawn anew for every case, the same every time."""
        rng = np.random.default_rng(len(str(self)))
        q, k, v = (rng.standard_normal((self.batch, *s)) for s in self.shapes or self._shapes())
        inputs: dict[str, npt.NDArray[Any]] = {n: np.array(x) for n, x in self.inputs.items()}
        inputs |= {n: rng.standard_normal(s) for n, s in self.learned.items()}
        inputs |= {n: -rng.uniform(0.01, 1.0, s) for n, s in self.falling.items()}
        return Call(q, k, v, self.sizes, self.pattern.params, inputs)

    def _shapes(self) -> tuple[Shape, Shape, Shape]:
        tokens, (width, wide) = int(np.prod(list(self.sizes.values()))), self.widths
        return (
            (self.heads, tokens, width),
            (self.kv_heads, tokens, width),
            (self.kv_heads, tokens, wide),
        )

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.sizes.values()))
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        heads = f"h{self.heads}/{self.kv_heads}"
        return f"{self.name}-{sizes}-{heads}-{params}".replace(" ", "")
