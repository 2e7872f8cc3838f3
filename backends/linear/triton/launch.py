"""The kernels' launches: grids and parameters for one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from attnlang.backends.linear.triton import kernels

Tensor = torch.Tensor
CHUNK, BLOCK, WARPS = 64, 64, 4
"""Tokens of a chunk, channels of a tile, warps of a program: nothing spills on cuda:90."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel: its name in :mod:`kernels`, its grid and everything it is given."""

    kernel: str
    grid: tuple[int, ...]
    given: dict[str, Any]

    def __call__(self) -> None:
        if all(self.grid):
            getattr(kernels, self.kernel)[self.grid](**self.given, num_warps=WARPS)


@dataclass(frozen=True, slots=True)
class Sequence:
    """What all launches of one call share: q, k, v as given, decays ``[B or 1, H or 1, N]``."""

    q: Tensor
    k: Tensor
    v: Tensor
    a: Tensor
    heads: int
    scale: float

    @property
    def chunks(self) -> int:
        return -(-self.q.shape[2] // CHUNK)

    @property
    def programs(self) -> int:
        return self.q.shape[0] * self.heads

    def states(self) -> Tensor:
        """Room for a state a chunk."""
        shape = (self.q.shape[0], self.heads, self.chunks, self.k.shape[3], self.v.shape[3])
        return torch.empty(shape, dtype=torch.float32, device=self.q.device)

    def forward(self, first: Tensor, states: Tensor, last: Tensor) -> Launch:
        """Fills in the states before each chunk and the last one."""
        return self._scan(self.k, self.v, first, states, last, back=False)

    def backward(self, d_out: Tensor, last: Tensor, ends: Tensor, first: Tensor) -> Launch:
        """Fills in the gradients of the states after each chunk, and of the first one."""
        return self._scan(self.q, d_out, last, ends, first, back=True)

    def output(self, states: Tensor, out: Tensor) -> Launch:
        return self._meet(self.q, self.k, self.v, states, out, back=False)

    def gradients(
        self, states: Tensor, ends: Tensor, d_out: Tensor, made: tuple[Tensor, Tensor, Tensor]
    ) -> list[Launch]:
        """Fill in those of q, k and v."""
        d_q, d_k, d_v = made
        return [
            self._meet(d_out, self.v, self.k, states.mT, d_q, back=False),
            self._meet(self.v, d_out, self.q, ends.mT, d_k, back=True),
            self._meet(self.k, self.q, d_out, ends, d_v, back=True),
        ]

    def decay_gradient(self, states: Tensor, ends: Tensor, d_out: Tensor, d_a: Tensor) -> Launch:
        given: dict[str, Any] = {"q": self.q, "k": self.k, "v": self.v, "scale": self.scale}
        given |= {"states": states, "ends": ends, "d_out": d_out, "d_a": d_a}
        strides = self._shared(q=self.q, k=self.k, v=self.v) | _strides(d_out=d_out)
        widths = self._widths(self.k.shape[3], self.v.shape[3], "value_width")
        common = self._common() | strides | widths
        return Launch("decay_gradient", (self.chunks, self.programs), given | common)

    def _scan(
        self, x: Tensor, y: Tensor, start: Tensor, states: Tensor, end: Tensor, *, back: bool
    ) -> Launch:
        given: dict[str, Any] = {"x": x, "y": y, "first": start, "states": states, "last": end}
        given |= {"BACK": back, "factor": self.scale if back else 1.0}
        widths = self._widths(x.shape[3], y.shape[3], "value_width")
        grid = (
            -(-x.shape[3] // widths["BLOCK_K"]),
            -(-y.shape[3] // widths["BLOCK_V"]),
            self.programs,
        )
        return Launch("scan", grid, given | self._common() | self._shared(x=x, y=y) | widths)

    def _meet(
        self, x: Tensor, y: Tensor, z: Tensor, states: Tensor, out: Tensor, *, back: bool
    ) -> Launch:
        given: dict[str, Any] = {"x": x, "y": y, "z": z, "states": states, "out": out, "BACK": back}
        given |= {"factor": 1.0 if back else self.scale, "scale": self.scale}
        given |= {"state_row": states.stride(3), "state_column": states.stride(4)}
        widths = self._widths(x.shape[3], z.shape[3], "out_width")
        grid = (self.chunks, -(-z.shape[3] // widths["BLOCK_V"]), self.programs)
        strides = self._shared(x=x, y=y, z=z) | _strides(out=out)
        return Launch("meet", grid, given | self._common() | strides | widths)

    def _common(self) -> dict[str, Any]:
        a = self.a
        return {
            "a": a,
            "a_batch": a.stride(0) if a.shape[0] > 1 else 0,
            "a_head": a.stride(1) if a.shape[1] > 1 else 0,
            "a_share": self.heads // a.shape[1],
            "length": self.q.shape[2],
            "chunks": self.chunks,
            "heads": self.heads,
            "CHUNK": CHUNK,
            "PRECISION": "ieee" if self.q.dtype is torch.float32 else "tf32",
        }

    def _widths(self, inner: int, outer: int, name: str) -> dict[str, int]:
        return {"width": inner, name: outer, "BLOCK_K": _block(inner), "BLOCK_V": _block(outer)}

    def _shared(self, **tensors: Tensor) -> dict[str, int]:
        shares = {f"{n}_share": self.heads // x.shape[1] for n, x in tensors.items()}
        return _strides(**tensors) | shares


def _strides(**tensors: Tensor) -> dict[str, int]:
    """By the names that kernels have for them."""
    dimensions = ("batch", "head", "token")
    return {f"{n}_{d}": x.stride(i) for n, x in tensors.items() for i, d in enumerate(dimensions)}


def _block(width: int) -> int:
    """The power of two that holds width, or a part of it; tensor cores take no less than 16."""
    return min(BLOCK, max(16, 1 << (width - 1).bit_length()))
