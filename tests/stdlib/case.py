"""One call at which a standard pattern is compared with its oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import attnlang
from tests.oracles import FULL_WHEN_EMPTY, MASKS

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """``inputs`` are lists that become tensors, or None for an optional one left out."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 1
    inputs: dict[str, list[Any] | None] = field(default_factory=dict)

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @property
    def attention(self) -> attnlang.Pattern:
        """The pattern, or the only attention of its program."""
        steps = list(self.pattern.steps.values()) or [self.pattern]
        (only,) = steps
        return only

    @property
    def tensors(self) -> dict[str, torch.Tensor | None]:
        return {n: None if x is None else torch.tensor(x) for n, x in self.inputs.items()}

    def oracle(self) -> Bools:
        """bool [H or 1, Nq, Nk], or with a batch axis before."""
        arrays = {n: None if x is None else np.array(x) for n, x in self.inputs.items()}
        return MASKS[self.name](self.sizes, self.heads, **self.params, **arrays)

    def seen(self) -> Bools:
        """The oracle after its rule for rows without keys."""
        drawn = self.oracle()
        if self.name in FULL_WHEN_EMPTY:
            drawn = drawn | ~drawn.any(axis=-1, keepdims=True)
        return drawn

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.sizes.values()))
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        return f"{self.name}-{sizes}-h{self.heads}-{params}".replace(" ", "")


def documents(*lengths: int) -> list[int]:
    return [d for d, n in enumerate(lengths) for _ in range(n)]


def lines(*lengths: int) -> list[dict[str, int]]:
    return [{"n": n} for n in lengths]


def images(*shapes: tuple[int, int]) -> list[dict[str, int]]:
    return [{"y": y, "x": x} for y, x in shapes]


EDGES = lines(1, 2, 31, 63, 64, 65)
PACKED = (documents(9, 1, 20, 2), documents(32), documents(16, 16), [0, 1] * 16)
