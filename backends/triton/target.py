"""Machines that kernels are compiled for, and what must hold on each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attnlang.compiler.diagnostics.model import Unsupported

_SHARED = {"cuda:80": 166912, "cuda:90": 232448, "cuda:100": 232448, "hip:gfx942": 65536}
"""Bytes of shared memory a program may take (CUDA's programming guide, compute capabilities;
AMD's instruction set reference of CDNA 3)."""

NAMES = tuple(_SHARED)


@dataclass(frozen=True, slots=True)
class Target:
    """name: ``cuda:90`` and the like. shared: bytes of shared memory a program may take."""

    name: str
    backend: str
    arch: str
    shared: int

    @property
    def warp(self) -> int:
        """Threads of a warp."""
        return 32 if self.backend == "cuda" else 64

    @property
    def describes(self) -> bool:
        """Has it tensor descriptors, and the shared memory that choices with them count on?"""
        return self.name in ("cuda:90", "cuda:100")

    @property
    def label(self) -> str:
        """The name in a file's name."""
        return re.sub(r"[^a-z0-9]", "", self.name)


def target(name: str) -> Target:
    """A target by name. Raises ValueError naming those there are."""
    if name not in _SHARED:
        raise ValueError(f"there is no target {name!r}; there are {', '.join(NAMES)}")
    backend, arch = name.split(":")
    return Target(name, backend, arch, _SHARED[name])


def unfit(kernel: str, machine: str, why: str) -> Unsupported:
    """For a kernel that no tiles make small enough: features are kept whole."""
    feature = f"these widths: `{kernel}` does not fit {machine}, its smallest tiles need {why}"
    return Unsupported(feature, "triton", "narrower heads, fewer tokens where tokens are features")
