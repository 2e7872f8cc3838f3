"""Numbers of tokens, heads and pairs: what expressions of a pattern read as.

A number is a Python number, or a tensor that broadcasts to ``[batch, heads, queries, keys]`` of
int64, float64 or bool. `tokens` makes those of one side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch

Tensor = torch.Tensor
Number = Any


def tokens(
    dim: int,
    segments: Sequence[tuple[str, Mapping[str, int]]],
    device: torch.device,
    origin: int = 0,
    **inputs: Tensor,
) -> SimpleNamespace:
    """The tokens of one side: of queries ``dim`` is 2, of keys 3.

    segments: names and lengths of axes, in order; the one called "grid" holds the axes, which
    begin at ``origin``, other tokens their number alone. inputs: ``[B or 1, H or 1, grid]``.
    ``.axis`` is a coordinate, ``.index`` the place among all, ``.in_name`` says where the token
    stands, ``.input`` has its values; what a token does not have is 0.
    """
    sizes = [math.prod(lengths.values()) for _, lengths in segments]
    made: dict[str, Tensor] = {"index": torch.arange(sum(sizes), device=device)}
    start = 0
    for (name, lengths), size in zip(segments, sizes, strict=True):
        stop = start + size
        inside = torch.zeros(sum(sizes), dtype=torch.bool, device=device)
        inside[start:stop] = True
        made[f"in_{name}"] = inside
        inner, first = size, origin if name == "grid" else 0
        for axis, length in lengths.items():
            inner //= max(length, 1)
            at = torch.arange(size, device=device) // max(inner, 1) % max(length, 1) + first
            made[axis] = torch.zeros_like(made["index"])
            made[axis][start:stop] = at
            first = 0
        if name == "grid":
            for given, x in inputs.items():
                around = (start, sum(sizes) - stop)
                made[given] = torch.nn.functional.pad(wide(x), around)
        start = stop
    return SimpleNamespace(**{n: _along(dim, x) for n, x in made.items()})


def _along(dim: int, x: Tensor) -> Tensor:
    x = x if x.dim() == 3 else x[None, None]
    return x[..., None] if dim == 2 else x[:, :, None]


def at(x: SimpleNamespace, dim: int, rows: Tensor) -> SimpleNamespace:
    """Some of the tokens."""
    return SimpleNamespace(**{n: y.index_select(dim, rows) for n, y in vars(x).items()})


def turned(x: SimpleNamespace) -> SimpleNamespace:
    """Keys in the place of queries: one for each row."""
    return SimpleNamespace(**{n: y.mT for n, y in vars(x).items()})


def channel(width: int, device: torch.device) -> Tensor:
    """The features of a tensor, in the place of keys."""
    return torch.arange(width, device=device)


def all_heads(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device).view(1, -1, 1, 1)


def read(table: Tensor, *indices: Number) -> Tensor:
    """An entry of a table ``[B or 1, ...]``; 0 outside it."""
    if 0 in table.shape:
        return wide(table.new_zeros(()))
    batch = torch.arange(table.shape[0], device=table.device).view(-1, 1, 1, 1)
    inside = torch.ones((), dtype=torch.bool, device=table.device)
    places = []
    for i, size in zip(indices, table.shape[1:], strict=True):
        index = torch.as_tensor(i, device=table.device)
        inside = inside & (index >= 0) & (index < size)
        places.append(index.clamp(0, size - 1))
    found = wide(table)[(batch, *places)]
    return torch.where(inside, found, torch.zeros((), dtype=found.dtype, device=table.device))


def listed(values: Sequence[float], device: torch.device) -> Tensor:
    """A parameter of one value for each head, as a table."""
    return wide(torch.tensor([values], device=device, dtype=_dtype(*values)))


def wide(x: Tensor) -> Tensor:
    """In the precision of numbers."""
    if x.dtype is torch.bool:
        return x
    return x.double() if x.is_floating_point() else x.long()


def _dtype(*values: float) -> torch.dtype:
    kinds = {type(x) for x in values}
    return torch.bool if kinds == {bool} else torch.int64 if kinds == {int} else torch.float64


def _tensor(x: Number) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x, dtype=_dtype(x))


def real(x: Number) -> Number:
    return x.double() if isinstance(x, Tensor) else float(x)


def negated(x: Number) -> Number:
    return ~x if isinstance(x, Tensor) else not x


def choose(condition: Number, then: Number, otherwise: Number) -> Number:
    if not isinstance(condition, Tensor):
        return then if condition else otherwise
    return torch.where(condition, _tensor(then), _tensor(otherwise))


def minimum(x: Number, *more: Number) -> Number:
    """Where the first of two is no number, the second."""
    for y in more:
        x = choose(x < y, x, y)
    return x


def maximum(x: Number, *more: Number) -> Number:
    for y in more:
        x = choose(x > y, x, y)
    return x


def clamp(x: Number, low: Number, high: Number) -> Number:
    return maximum(low, minimum(x, high))


def ceildiv(x: Number, y: Number) -> Number:
    return -(-x // y)


def ilog2(x: Number) -> Number:
    """The floor of the logarithm; 0 below 1."""
    found = torch.zeros_like(_tensor(x))
    for bit in range(1, 63):
        found = torch.where(_tensor(x) >= 2**bit, bit, found)
    return found


def pow2(x: Number) -> Number:
    power = torch.bitwise_left_shift(torch.ones_like(_tensor(x)), _tensor(x).clamp(0, 62))
    return torch.where(_tensor(x) < 0, 0, power)


def truncated(x: Number) -> Number:
    return _tensor(x).long()


def floor(x: Number) -> Number:
    return _tensor(x).floor().long()


def ceil(x: Number) -> Number:
    return _tensor(x).ceil().long()


def nearest(x: Number) -> Number:
    return _tensor(x).round().long()


def exp(x: Number) -> Number:
    return _tensor(x).exp()


def exp2(x: Number) -> Number:
    return _tensor(x).exp2()


def erf(x: Number) -> Number:
    return _tensor(x).erf()


def tanh(x: Number) -> Number:
    return _tensor(x).tanh()


def sigmoid(x: Number) -> Number:
    return _tensor(x).sigmoid()


def log(x: Number) -> Number:
    """-inf at 0 and below."""
    x = _tensor(x)
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).log(), -math.inf)


def log2(x: Number) -> Number:
    x = _tensor(x)
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).log2(), -math.inf)


def sqrt(x: Number) -> Number:
    """0 below 0."""
    x = _tensor(x)
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0)
