"""The kernels' launches: their parameters for one call, and the autograd node around them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch.autograd.function import once_differentiable

from attnlang.backends.linear.form import Tokens, Weights
from attnlang.backends.linear.triton import kernels
from attnlang.compiler.diagnostics.model import Unsupported

Tensor = torch.Tensor
CHUNK = 64
BLOCK = 64
WIDEST = 256
"""Channels of a key that fit the registers."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel: its name in :mod:`kernels`, its grid and everything it is given."""

    kernel: str
    grid: tuple[int, ...]
    given: dict[str, Any]
    warps: int

    def __call__(self) -> None:
        getattr(kernels, self.kernel)[self.grid](**self.given, num_warps=self.warps)


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

    def states(self) -> Tensor:
        """Room for a state a chunk."""
        batch, _, _, width = self.k.shape
        shape = (batch, self.heads, self.chunks, width, self.v.shape[3])
        return torch.empty(shape, dtype=torch.float32, device=self.q.device)

    def scan(
        self, x: Tensor, y: Tensor, first: Tensor, states: Tensor, last: Tensor, reverse: bool
    ) -> Launch:
        blocks = (_block(x.shape[3]), _block(y.shape[3]))
        grid = (
            triton.cdiv(x.shape[3], blocks[0]),
            triton.cdiv(y.shape[3], blocks[1]),
            x.shape[0] * self.heads,
        )
        given = {"x": x, "y": y, "first": first, "states": states, "last": last, "REVERSE": reverse}
        given |= {"factor": self.scale if reverse else 1.0, **self._strides(x=x, y=y)}
        fixed = {"BLOCK_K": blocks[0], "BLOCK_V": blocks[1]}
        return Launch("scan", grid, given | fixed | self._common(), 4)

    def outputs(self, states: Tensor, out: Tensor) -> Launch:
        width, value_width = self.k.shape[3], self.v.shape[3]
        given = {"q": self.q, "k": self.k, "v": self.v, "states": states, "out": out}
        strides = self._strides(q=self.q, k=self.k, v=self.v) | _places(out=out)
        block = _block(value_width)
        grid = (self.chunks, triton.cdiv(value_width, block), self.q.shape[0] * self.heads)
        fixed = {"BLOCK_K": _block(width), "BLOCK_V": block, "scale": self.scale}
        return Launch("outputs", grid, given | strides | fixed | self._common(), 4)

    def gradients(
        self, states: Tensor, ends: Tensor, d_out: Tensor, made: dict[str, Tensor]
    ) -> Launch:
        """made: d_q, d_k, d_v and d_a, contiguous, to be filled."""
        given: dict[str, Any] = {"q": self.q, "k": self.k, "v": self.v, "scale": self.scale}
        given |= {"states": states, "ends": ends, "d_out": d_out, **made}
        strides = self._strides(q=self.q, k=self.k, v=self.v) | _places(d_out=d_out)
        width = _power(self.k.shape[3])
        fixed = {"WIDTH": width, "BLOCK_V": min(_block(self.v.shape[3]), 32 if width > 64 else 64)}
        grid = (self.chunks, self.q.shape[0] * self.heads)
        given |= strides | fixed | self._common()
        return Launch("gradients", grid, given, 4 if width <= 64 else 8)

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
            "width": self.k.shape[3],
            "value_width": self.v.shape[3],
            "CHUNK": CHUNK,
            "PRECISION": "ieee" if self.q.dtype is torch.float32 else "tf32",
        }

    def _strides(self, **tensors: Tensor) -> dict[str, int]:
        shares = {f"{n}_share": self.heads // x.shape[1] for n, x in tensors.items()}
        return _places(**tensors) | shares


def run(
    x: Tokens, first: Tensor, scale: float, weights: Weights | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The output ``[B, H, N, V]`` in ``dtype`` and the final state.

    Raises Unsupported for what there are no kernels for, and for tensors that they cannot read.
    """
    _check(x, weights)
    given = (x.q, x.k, x.v, x.decay[..., 0], first, x.heads, scale, dtype)
    out, final = _Kernels.apply(*given)  # type: ignore[no-untyped-call]
    return out, final


def _check(x: Tokens, weights: Weights | None) -> None:
    features = {
        "the delta rule": x.beta is not None,
        "decays per channel": x.decay.shape[-1] > 1,
        "polynomial weights": weights is not None,
        "float64 tensors": x.dtype is torch.float64,
        "q, k and v of different dtypes": len({x.q.dtype, x.k.dtype, x.v.dtype}) > 1,
        f"keys of more than {WIDEST} channels": x.k.shape[3] > WIDEST,
        "tensors on the CPU": x.q.device.type == "cpu"
        and os.environ.get("TRITON_INTERPRET") != "1",
    }
    for feature, present in features.items():
        if present:
            raise Unsupported(feature, "triton", "backend='blocked'")


class _Kernels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, a: Tensor, first: Tensor, heads: int,
        scale: float, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        x = Sequence(_rows(q), _rows(k), _rows(v), a.contiguous(), heads, scale)
        first = first.contiguous()
        states, final = x.states(), torch.empty_like(first)
        out = q.new_empty(q.shape[0], heads, *v.shape[2:], dtype=dtype)
        x.scan(x.k, x.v, first, states, final, reverse=False)()
        if x.chunks:
            x.outputs(states, out)()
        ctx.options = heads, scale
        ctx.save_for_backward(q, k, v, a, first)
        return out, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_final: Tensor) -> tuple[Any, ...]:
        q, k, v, a, first = ctx.saved_tensors
        heads, scale = ctx.options
        x = Sequence(_rows(q), _rows(k), _rows(v), a.contiguous(), heads, scale)
        d_out = _rows(d_out)
        states, ends, d_first = x.states(), x.states(), torch.empty_like(first)
        x.scan(x.k, x.v, first, states, torch.empty_like(first), reverse=False)()
        x.scan(x.q, d_out, d_final.contiguous(), ends, d_first, reverse=True)()
        length = q.shape[2]
        made = {
            f"d_{n}": q.new_empty(
                q.shape[0], heads, length, y.shape[3],
                dtype=y.dtype if y.shape[1] == heads else torch.float32,
            )
            for n, y in (("q", q), ("k", k), ("v", v))
        }  # fmt: skip
        made["d_a"] = a.new_empty(q.shape[0], heads, length)
        if x.chunks:
            x.gradients(states, ends, d_out, made)()
        grads = (
            g.unflatten(1, (y.shape[1], -1)).sum(2).sum_to_size(y.shape).to(y.dtype)
            for g, y in zip(made.values(), (q, k, v, a), strict=True)
        )
        return *grads, d_first, None, None, None


def _rows(x: Tensor) -> Tensor:
    """The tensor with its rows in one piece."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _places(**tensors: Tensor) -> dict[str, int]:
    """Strides by the names that kernels have for them."""
    dimensions = ("batch", "head", "token")
    return {f"{n}_{d}": x.stride(i) for n, x in tensors.items() for i, d in enumerate(dimensions)}


def _block(width: int) -> int:
    return min(BLOCK, _power(width))


def _power(width: int) -> int:
    """The power of two that holds width; tensor cores take no less than 16."""
    return max(16, 1 << (width - 1).bit_length())
