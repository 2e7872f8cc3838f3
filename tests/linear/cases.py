"""Calls of linear attention: random tensors of every class of decay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from attnlang.backends.linear import State, chunkwise

Tensor = torch.Tensor
DECAYS = ("none", "constant", "token", "channel")


@dataclass(frozen=True)
class Case:
    """q, k and v, and the keyword arguments of a form."""

    q: Tensor
    k: Tensor
    v: Tensor
    options: dict[str, Any]

    def run(self, form: Any = chunkwise, **more: Any) -> Any:
        return form(self.q, self.k, self.v, **self.options, **more)

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that have gradients."""
        learned = (self.options.get(n) for n in ("decay", "beta"))
        return [self.q, self.k, self.v, *(x for x in learned if x is not None)]

    def map(self, f: Any) -> Case:
        """f of every tensor of real numbers."""
        changed = {
            n: f(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for n, x in self.options.items()
        }
        return Case(f(self.q), f(self.k), f(self.v), changed)

    def learned(self) -> Case:
        return self.map(lambda x: x.detach().clone().requires_grad_())

    def tokens(self, part: slice, batch: slice = slice(None)) -> Case:
        """Some of the tokens, and of the batch."""

        def take(x: Tensor) -> Tensor:
            if x.dim() == 1:
                return x
            return x[batch, part] if x.dim() == 2 else x[batch, :, part]

        options = {n: take(x) if isinstance(x, Tensor) else x for n, x in self.options.items()}
        return replace(self, **{n: take(getattr(self, n)) for n in "qkv"}, options=options)


def draw(
    decay: str = "token",
    *,
    delta: bool = False,
    batch: int = 2,
    length: int = 37,
    heads: tuple[int, int, int] = (4, 2, 2),
    width: int = 5,
    value_width: int = 3,
    segments: Tensor | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    strength: float = 1.0,
) -> Case:
    """heads: those of q, of k, v and beta, and of the decay; 0.7 is the scale."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, shared, gates = heads
    options: dict[str, Any] = {"scale": 0.7}
    shape = {
        "none": None,
        "constant": (gates,),
        "token": (batch, gates, length),
        "channel": (batch, gates, length, width),
    }[decay]
    if shape is not None:
        options["decay"] = (-strength * normal(*shape).abs()).to(dtype)
    if delta:
        options["beta"] = normal(batch, shared, length).sigmoid().to(dtype)
    if segments is not None:
        options["segments"] = segments
    k = F.normalize(normal(batch, shared, length, width), dim=-1)
    return Case(
        normal(batch, q, length, width).to(dtype),
        k.to(dtype),
        normal(batch, shared, length, value_width).to(dtype),
        options,
    )


def gradients(case: Case, out: Tensor, final: State | None, seed: int = 9) -> list[Tensor]:
    """Of a random linear function of the output and the final state, by every leaf."""
    generator = torch.Generator().manual_seed(seed)
    results = [out] if final is None else [out, final.s]
    slopes = [
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in results
    ]
    return list(torch.autograd.grad(results, case.leaves, slopes, retain_graph=True))


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
