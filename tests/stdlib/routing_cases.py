"""The calls at which the patterns that choose their keys are compared with their oracles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

import attnlang
from tests.oracles import routing_blocks
from tests.oracles.routing import Call, Oracle

ORACLES: dict[str, Oracle] = {**routing_blocks.ORACLES}


@dataclass(frozen=True)
class Case:
    """One call. n_q: queries where they are fewer than the keys, the last ones.

    ties: small whole numbers in q and k, so that many scores are equal.
    """

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 2
    kv_heads: int = 2
    n_q: int | None = None
    ties: bool = False
    batch: int = 2

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.load(f"stdlib:{self.name}", **self.params)

    @cached_property
    def call(self) -> Call:
        """Drawn anew for every case, the same every time."""
        generator = torch.Generator().manual_seed(len(str(self)))
        n_q, n_k = lengths(self)
        dims = ((self.heads, n_q, 4), (self.kv_heads, n_k, 4), (self.kv_heads, n_k, 3))
        q, k, v = (draw((self.batch, *d), generator) for d in dims)
        if self.ties:
            q, k = q.round(), k.round()
        params = self.pattern.params
        made = Call(q, k, v, self.sizes, params, {}, n_k - n_q if self.n_q is not None else 0)
        inputs = INPUTS[self.name](made, generator) if self.name in INPUTS else {}
        return replace(made, inputs=inputs)

    @property
    def given(self) -> dict[str, int]:
        """Lengths as an op takes them."""
        if self.n_q is None:
            return self.sizes
        return {}

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.sizes.values()))
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        heads = f"h{self.heads}" + (f"/{self.kv_heads}" if self.kv_heads != self.heads else "")
        more = ("" if self.n_q is None else f"-q{self.n_q}") + ("-ties" if self.ties else "")
        return f"{self.name}-{sizes}-{heads}-{params}{more}".replace(" ", "")


def draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers that float32 holds exactly."""
    return torch.randn(shape, generator=generator).double()


def lengths(case: Case) -> tuple[int, int]:
    """Queries and keys."""
    count = 1
    for n in case.sizes.values():
        count *= n
    return (count if case.n_q is None else case.n_q), count


INPUTS: dict[str, Callable[[Call, torch.Generator], dict[str, torch.Tensor]]] = {}
"""Run-time tensors of a pattern's calls."""

ALL: list[Case] = [
    *(
        Case("moba", {"n": n}, {"block": b, "topk": k}, heads=h, kv_heads=g)
        for n, b, k in ((1, 4, 1), (3, 4, 2), (16, 4, 2), (18, 4, 3), (17, 5, 99), (9, 1, 3))
        for h, g in ((2, 2), (4, 2))
    ),
    Case("moba", {"n": 18}, {"block": 4, "topk": 3}, n_q=1),
    Case("moba", {"n": 19}, {"block": 4, "topk": 2}, heads=4, kv_heads=1, n_q=6),
    Case("moba", {"n": 30}, {"block": 4, "topk": 3}, ties=True),
]
CASES = [case for case in ALL if case.name in attnlang.stdlib.names()]
