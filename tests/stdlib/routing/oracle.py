"""Routing and selection by the papers' definitions: the chosen sets, then the output of sets.

Loops over batches, heads and queries in float64. Nothing here knows the compiler. Outputs are
torch tensors, so that their gradients are autograd's; choosing is outside of every gradient.
Equal scores: the key that comes first is better.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Tensor = torch.Tensor
Sets = dict[str, Tensor]


@dataclass(frozen=True)
class Call:
    """q ``[B, H, Nq, D]``, k ``[B, Hkv, Nk, D]``, v ``[B, Hkv, Nk, Dv]``; query i is at offset + i."""

    q: Tensor
    k: Tensor
    v: Tensor
    sizes: Mapping[str, int]
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    offset: int = 0

    @property
    def group(self) -> int:
        """Query heads of one key head."""
        return self.q.shape[1] // self.k.shape[1]

    @property
    def scale(self) -> float:
        return float(self.q.shape[3]) ** -0.5

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Every (batch, head, query)."""
        return itertools.product(*(range(n) for n in self.q.shape[:3]))


@dataclass(frozen=True)
class Oracle:
    """select: bool sets by name. attend: the output ``[B, H, Nq, Dv]`` of these sets."""

    select: Callable[[Call], Sets]
    attend: Callable[[Call, Sets], Tensor]


def best(scores: Mapping[int, float], count: int, forced: Iterable[int] = ()) -> set[int]:
    """The ``count`` keys of the largest scores; the forced are in, and counted first."""
    chosen = set(forced)
    ranked = sorted((j for j in scores if j not in chosen), key=lambda j: (-scores[j], j))
    return chosen | set(ranked[: max(count - len(chosen), 0)])


def softmax(scores: Mapping[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    keys = list(scores)
    weights = torch.softmax(torch.tensor([scores[j] for j in keys], dtype=torch.float64), 0)
    return dict(zip(keys, weights.tolist(), strict=True))


def row(q: Tensor, k: Tensor, v: Tensor, keys: Iterable[int], scale: float) -> Tensor:
    """Softmax attention of one query ``[D]`` over some keys; 0 over none."""
    seen = list(keys)
    if not seen:
        return q.new_zeros(v.shape[-1]) + 0.0 * q.sum()
    return torch.softmax(k[seen] @ q * scale, 0) @ v[seen]


def every_row(call: Call, keys: Callable[[int, int, int], Iterable[int]]) -> Tensor:
    """``keys(batch, head, query)`` in one softmax, for every query."""
    out = [
        row(
            call.q[b, h, i],
            *(x[b, h // call.group] for x in (call.k, call.v)),
            keys(b, h, i),
            call.scale,
        )
        for b, h, i in call.rows()
    ]
    return torch.stack(out).view(*call.q.shape[:3], -1)


def mean_of(x: Tensor, start: int, stop: int) -> Tensor:
    """The mean of the tokens that are there, ``x [N, D]``."""
    return x[start : min(stop, len(x))].mean(0)


def blocks(length: int, size: int) -> int:
    return -(-length // size)
