"""The calls at which composed patterns are compared with their oracles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

import attnlang
from tests.oracles import branches, dense, slots
from tests.oracles.composed import Call, Oracle

ORACLES: dict[str, Oracle] = {**branches.ORACLES, **dense.ORACLES, **slots.ORACLES}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One call. learned: shapes of float inputs drawn at random; inputs: those given as they are."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 2
    kv_heads: int = 2
    learned: Mapping[str, Shape] = field(default_factory=dict)
    inputs: Mapping[str, list[Any]] = field(default_factory=dict)
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


CASES: list[Case] = [
    *(
        Case("music_relative", {"n": n}, {"reach": r}, 4, learned={"E": (4, r, 4)})
        for n, r in ((11, 11), (11, 20), (11, 4), (1, 1))
    ),
    *(
        Case(
            "rcmha",
            {"n": 9},
            {"reach": r, "causal": c},
            4,
            learned={"u": (4, 4), "R": (4, 2 * r, 4), "c": (4, 2 * r)},
        )
        for r, c in ((9, True), (3, True), (3, False), (20, False))
    ),
    *(
        Case("vstar_tar", {"t": t}, {"strength": strength, "sigma": sigma}, kv_heads=kv)
        for t, strength, sigma, kv in ((9, 1.0, 2.0, 2), (9, -0.5, 4.0, 1), (1, 1.0, 1.0, 2))
    ),
    *(
        Case("hilo", {"y": y, "x": x}, {"window": w, "alpha": a}, heads, heads)
        for y, x, w, a, heads in (
            (4, 6, 2, 0.5, 2),
            (4, 6, 2, 0.9, 3),
            (3, 3, 3, 0.0, 1),
            (4, 2, 2, 1.0, 2),
            (2, 3, 1, 0.5, 2),
        )
    ),
    *(
        Case("combiner_fixed", {"n": n}, {"segment": size}, 4)
        for n, size in ((13, 4), (12, 4), (5, 8), (6, 1))
    ),
    *(
        Case("cca_core", {"n": n}, {"group": g, "window": w}, 4)
        for n, g, w in ((17, 3, 4), (16, 4, 4), (16, 4, 1), (9, 2, 20), (7, 1, 3), (3, 4, 1))
    ),
    *(
        Case(
            "abc",
            {"n": n, "m": m},
            {"slots": r},
            4,
            learned={"key_slots": (4, r, 3), "value_slots": (4, r, 3)},
            shapes=((4, n, 3), (kv, m, 3), (kv, m, 3)),
        )
        for n, m, r, kv in ((1, 1, 1, 4), (5, 9, 3, 2), (9, 4, 7, 1))
    ),
    *(Case("ista", {"n": n}, learned={"M": (2, n, n), "alpha": (2,)}) for n in (1, 9)),
    *(
        Case("dependency_vit", {"n": n}, {}, 4, learned={"chosen": (2, n, 4), "message": (2, n)})
        for n in (1, 9)
    ),
    *(Case("pam", {"y": y, "x": x}, kv_heads=kv) for y, x, kv in ((3, 4, 2), (1, 5, 1))),
    *(
        Case("lama_pool", {"n": 7}, {}, 3, inputs=pad, shapes=((3, 1, 2), (3, 7, 2), (3, 7, 5)))
        for pad in ({}, {"pad": [[False] * 5 + [True] * 2, [True] * 7]})
    ),
]
