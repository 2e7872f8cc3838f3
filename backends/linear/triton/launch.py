"""The kernels' launches: grids and parameters for one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.backends.linear.triton.chunks import meet, pairs, solve
from attnlang.backends.linear.triton.gradients import gradients
from attnlang.backends.linear.triton.scans import delta_scan, delta_scan_back, scan
from attnlang.backends.linear.triton.tiles import accumulate

Tensor = torch.Tensor
CHUNK = 64
"""Tokens of a chunk."""
EXACTLY = {"cuda": "tf32x3", "hip": "ieee"}
"""How matrix units multiply float32: in three parts, or not at all."""
EXACT = EXACTLY["hip" if torch.version.hip else "cuda"]
WHOLE = 256
"""The widest keys that the delta rule's states can be handed on with: one program holds them."""
KERNELS = {
    x.__name__: x
    for x in (accumulate, scan, delta_scan, delta_scan_back, pairs, solve, meet, gradients)
}


@dataclass(frozen=True, slots=True)
class Choice:
    """How a kernel is spread over a machine. block: channels of a tile, at most; for the scans of
    the delta rule of values, those of keys being one tile. warps: of a program."""

    block: int
    warps: int


CHOICES = {
    "accumulate": (Choice(64, 4), Choice(32, 4)),
    "scan": (Choice(64, 4), Choice(32, 4), Choice(16, 4)),
    "delta_scan": (Choice(16, 8), Choice(16, 16)),
    "delta_scan_back": (Choice(16, 8), Choice(16, 16)),
    "pairs": (Choice(32, 4), Choice(32, 8), Choice(16, 8)),
    "solve": (Choice(32, 8), Choice(16, 8), Choice(16, 16)),
    "meet": (Choice(64, 4), Choice(64, 8), Choice(32, 4), Choice(32, 8)),
    "gradients": (Choice(32, 8), Choice(16, 8), Choice(16, 16)),
}
"""Of every kernel, the likeliest best first: some hold many tiles."""
FIRST = {name: among[0] for name, among in CHOICES.items()}


class Unfit(RuntimeError):
    """The device has no room for a kernel as it was chosen. need: what of how much there is."""

    def __init__(self, kernel: str, need: str) -> None:
        super().__init__(f"`{kernel}` does not fit: it needs {need}")
        self.kernel, self.need = kernel, need


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel by name, its grid and everything it is given."""

    kernel: str
    grid: tuple[int, ...]
    given: dict[str, Any]
    warps: int

    def __call__(self) -> None:
        """Raises Unfit."""
        from triton.runtime.errors import OutOfResources

        if not all(self.grid):
            return
        try:
            KERNELS[self.kernel][self.grid](**self.given, **self.options)
        except OutOfResources as no:  # Triton asks before it launches anything
            raise Unfit(self.kernel, f"{no.required} of {no.limit} ({no.name})") from None

    @property
    def options(self) -> dict[str, int]:
        return {"num_warps": self.warps, "num_stages": 1}


def decay_sums(a: Tensor, choice: Choice = FIRST["accumulate"]) -> tuple[Tensor, Launch]:
    """Room for the sums of log-decays ``[B or 1, H or fewer, N, 1 or K]`` chunk by chunk, whole
    chunks of them, and what fills it in."""
    batch, heads, length, width = a.shape
    chunks = -(-length // CHUNK)
    sums = a.new_empty(batch, heads, chunks * CHUNK, width, dtype=torch.float64)
    block = _block(width, choice.block) if width > 1 else 1
    given = {"a": a.contiguous(), "sums": sums, "length": length, "width": width, "chunks": chunks}
    given |= {"CHUNK": CHUNK, "BLOCK_K": block}
    grid = (chunks, -(-width // block), batch * heads)
    return sums, Launch("accumulate", grid, given, choice.warps)


@dataclass(frozen=True, slots=True)
class Sequence:
    """What all launches of one call share.

    q, k, v as given. sums: `decay_sums` ``[B or 1, H or fewer, N', 1 or K]``. beta: ``[B, H or
    fewer, N, 1]`` for the delta rule. choices: of every kernel. exact: how float32 is
    multiplied. What launches make of these is float32.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    sums: Tensor
    beta: Tensor | None
    heads: int
    scale: float
    choices: Mapping[str, Choice]
    exact: str = EXACT

    @property
    def chunks(self) -> int:
        return -(-self.q.shape[2] // CHUNK)

    @property
    def by_channel(self) -> bool:
        return self.sums.shape[3] > 1

    @property
    def direct(self) -> bool:
        """Are the weights of pairs worked out where they are used?"""
        return self.beta is None and not self.by_channel

    def states(self) -> Tensor:
        """Room for a state a chunk."""
        return self._room(self.chunks, self.k.shape[3], self.v.shape[3])

    def pairs(self) -> Tensor:
        """Room for a matrix a chunk."""
        return self._room(self.chunks, CHUNK, CHUNK)

    def keys(self) -> Tensor:
        return self._room(self.q.shape[2], self.k.shape[3])

    def values(self) -> Tensor:
        return self._room(self.q.shape[2], self.v.shape[3])

    def scan(
        self, x: Tensor, y: Tensor, first: Tensor, states: Tensor, last: Tensor, *, back: bool
    ) -> Launch:
        """Fills in states and last from keys x and values y; back from queries and d_out."""
        widths = self._widths("scan")
        grid = (
            -(-self.k.shape[3] // widths["BLOCK_K"]),
            -(-self.v.shape[3] // widths["BLOCK_V"]),
            self.programs,
        )
        given = {"first": first, "states": states, "last": last, "BACK": back}
        given |= {"factor": self.scale if back else 1.0}
        return self._launch("scan", grid, given | self._heads(x=x, y=y) | widths)

    def delta_scan(
        self, given: Tensor, w: Tensor, first: Tensor, states: Tensor, last: Tensor, made: Tensor
    ) -> Launch:
        all_of = {"given": given, "w": w, "first": first, "states": states}
        all_of |= {"last": last, "made": made} | self._heads(k=self.k)
        return self._delta("delta_scan", all_of)

    def delta_scan_back(
        self, d_out: Tensor, given: Tensor, w: Tensor, first: Tensor, states: Tensor,
        last: Tensor, made: Tensor,
    ) -> Launch:  # fmt: skip
        all_of: dict[str, Any] = {"given": given, "w": w, "first": first, "states": states}
        all_of |= {"last": last, "made": made, "factor": self.scale}
        all_of |= self._heads(q=self.q, k=self.k, d_out=d_out)
        return self._delta("delta_scan_back", all_of)

    def weigh(self, found: Tensor) -> Launch:
        """Fills in the weights of pairs."""
        given = {"found": found, "scale": self.scale} | self._heads(q=self.q, k=self.k)
        grid = (self.chunks, self.programs)
        return self._launch("pairs", grid, given | self._levels() | self._keys("pairs"))

    def solve(self, keys: Tensor, solver: Tensor, given: Tensor, w: Tensor) -> Launch:
        """Fills in all four."""
        assert self.beta is not None
        all_of: dict[str, Any] = {"keys": keys, "solver": solver, "given": given, "w": w}
        all_of["EXACT"] = self.exact
        all_of |= self._heads(k=self.k, v=self.v, beta=self.beta) | self._levels()
        grid = (self.chunks, self.programs)
        return self._launch("solve", grid, all_of | self._widths("solve"))

    def meet(
        self, x: Tensor, y: Tensor, z: Tensor, out: Tensor, *, states: Tensor | None,
        pairs: Tensor | None, back: bool = False, factor: float = 1.0,
    ) -> Launch:  # fmt: skip
        """Fills in out; without states or pairs those parts are left out or worked out."""
        given: dict[str, Any] = {"out": out, "factor": factor, "scale": self.scale, "BACK": back}
        given |= {"given": out if pairs is None else pairs, "GIVEN": pairs is not None}
        given |= {"states": out if states is None else states, "STATES": states is not None}
        widths = self._widths("meet")
        grid = (self.chunks, -(-self.v.shape[3] // widths["BLOCK_V"]), self.programs)
        given |= self._heads(x=x, y=y, z=z) | self._levels()
        return self._launch("meet", grid, given | widths)

    def gradients(
        self, v: Tensor, states: Tensor, ends: Tensor, d_out: Tensor, d_v: Tensor,
        made: tuple[Tensor, Tensor, Tensor],
    ) -> Launch:  # fmt: skip
        """Fills in those of q, k and a. v: what was written."""
        d_q, d_k, d_a = made
        given: dict[str, Any] = {"states": states, "ends": ends, "d_v": d_v, "scale": self.scale}
        given |= {"d_q": d_q, "d_k": d_k, "d_a": d_a, "DELTA": self.beta is not None}
        given |= self._heads(q=self.q, k=self.k, v=v, d_out=d_out) | self._levels()
        grid = (self.chunks, self.columns, self.programs)
        return self._launch("gradients", grid, given | self._widths("gradients"))

    @property
    def programs(self) -> int:
        return self.q.shape[0] * self.heads

    @property
    def columns(self) -> int:
        """Blocks of channels that gradients are made by."""
        return -(-self.k.shape[3] // self._keys("gradients")["BLOCK_K"])

    def _room(self, *shape: int) -> Tensor:
        shape = (self.q.shape[0], self.heads, *shape)
        return torch.empty(shape, dtype=torch.float32, device=self.q.device)

    def _delta(self, name: str, given: dict[str, Any]) -> Launch:
        # A program holds a part of the state, all of K, and of a chunk's keys as well.
        whole = _block(self.k.shape[3], WHOLE)
        widths = self._widths(name) | {"BLOCK_K": whole}
        grid = (-(-self.v.shape[3] // widths["BLOCK_V"]), self.programs)
        return self._launch(name, grid, given | widths)

    def _launch(self, name: str, grid: tuple[int, ...], given: dict[str, Any]) -> Launch:
        return Launch(name, grid, given | self._common(), self.choices[name].warps)

    def _common(self) -> dict[str, Any]:
        batch, head, token, _ = self.sums.stride()
        return {
            "sums": self.sums,
            "sums_batch": batch if self.sums.shape[0] > 1 else 0,
            "sums_head": head,
            "sums_token": token,
            "sums_share": self.heads // self.sums.shape[1],
            "length": self.q.shape[2],
            "chunks": self.chunks,
            "heads": self.heads,
            "CHANNEL": self.by_channel,
            "CHUNK": CHUNK,
            "PRECISION": self.exact if self.q.dtype is torch.float32 else "tf32",
        }

    def _keys(self, kernel: str) -> dict[str, int]:
        width = self.k.shape[3]
        return {"width": width, "BLOCK_K": _block(width, self.choices[kernel].block)}

    def _widths(self, kernel: str) -> dict[str, int]:
        width, most = self.v.shape[3], self.choices[kernel].block
        return self._keys(kernel) | {"value_width": width, "BLOCK_V": _block(width, most)}

    def _heads(self, **tensors: Tensor) -> dict[str, Any]:
        """Tensors with their strides, by the names that kernels have for them."""
        given: dict[str, Any] = dict(tensors)
        for name, x in tensors.items():
            given[f"{name}_share"] = self.heads // x.shape[1]
            for i, dimension in enumerate(("batch", "head", "token")):
                given[f"{name}_{dimension}"] = x.stride(i)
        return given

    def _levels(self) -> dict[str, int]:
        return {"LEVELS": CHUNK.bit_length() - 1}


def _block(width: int, most: int) -> int:
    """The power of two that holds width, or a part of it; tensor cores take no less than 16."""
    return min(most, max(16, 1 << (width - 1).bit_length()))
