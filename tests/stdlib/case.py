"""A call at which a standard pattern is compared with its oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import attnlang
from tests.oracles import MASKS

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """``inputs`` are lists; they become int64 tensors."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 1
    inputs: dict[str, list[Any]] = field(default_factory=dict)

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(value) for name, value in self.inputs.items()}

    def oracle(self) -> Bools:
        """bool [H or 1, Nq, Nk], or with a batch axis before."""
        arrays = {name: np.array(value) for name, value in self.inputs.items()}
        return MASKS[self.name](self.sizes, self.heads, **self.params, **arrays)

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
