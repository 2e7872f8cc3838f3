"""Tiles told apart on the device: run-time inputs decide, and the host is never waited for.

The same interval arithmetic that classifies tiles on the host runs on tensors: every tile has a
least and a greatest value of each input, and a predicate is surely true, surely false or neither on
a pair of tiles. What no input decides comes from the plan that was made without inputs. The answer
is never wrong, but more tiles may be partial than the host would find.

Shapes depend on lengths alone, so that the work can be captured in a CUDA graph. It takes memory
in the number of tile pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attnlang.backends.blocked.places import torch_ops
from attnlang.backends.call import Inputs
from attnlang.compiler.analysis.leaves import parameter_tables
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.intervals import Intervals, Ops, Range
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.layout.tiling import ExtentTiling, coordinates
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.bind import PYTHON
from attnlang.compiler.sema.segments import specialise
from attnlang.compiler.syntax.limits import MAX_INTEGER

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class DeviceRuns:
    """Run ``i`` of row ``r``, ``offsets[r] <= i < offsets[r + 1]``, is tiles ``starts[i] <= t <
    stops[i]``. int32: offsets ``[B, rows + 1]``, starts and stops ``[B, most runs there can be]``.
    """

    offsets: Tensor
    starts: Tensor
    stops: Tensor


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """Which pairs of tiles to visit, bool ``[B, query tiles, key tiles]``.

    full: every pair attends. partial: some pairs may, and have to be asked.
    """

    partial: Tensor
    full: Tensor

    def transposed(self) -> DeviceTable:
        """By key tile: what the backward pass of k and v walks."""
        return DeviceTable(self.partial.transpose(1, 2), self.full.transpose(1, 2))


def runs(tiles: Tensor) -> DeviceRuns:
    """The true entries of bool ``[B, rows, columns]`` as runs, row after row."""
    batch, rows, columns = tiles.shape
    off = tiles.new_zeros((batch, rows, 1))
    first = tiles & ~torch.cat((off, tiles[:, :, :-1]), 2)
    last = tiles & ~torch.cat((tiles[:, :, 1:], off), 2)
    counts = first.sum(2, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    offsets = torch.cat((counts.new_zeros((batch, 1)), counts), 1)
    most = rows * -(-columns // 2)
    place = torch.arange(columns, dtype=torch.int32, device=tiles.device)
    ends = []
    for edge, value in ((first, place), (last, place + 1)):
        flat = edge.flatten(1)
        # What is no edge is written to one slot more, which is dropped.
        at = torch.where(flat, flat.cumsum(1) - 1, most)
        found = offsets.new_zeros((batch, most + 1))
        found.scatter_(1, at, value.repeat(rows).expand(batch, -1))
        ends.append(found[:, :most])
    return DeviceRuns(offsets, ends[0], ends[1])


class DeviceClassifier:
    """A plan made without inputs, ready to be told them: one for each problem and device."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self._constants = parameter_tables(plan.problem)
        self._static = [_masks(g, device) for g in plan.heads]
        self._places = {
            (side, i): torch.as_tensor(_grid_places(tiling), device=device)
            for side, extents in ((Side.Q, plan.layout.q.extents), (Side.K, plan.layout.k.extents))
            for i, tiling in enumerate(extents)
        }
        self._ends: dict[tuple[Side, int, Expr], tuple[Tensor, Tensor]] = {}
        for group in plan.heads:  # everything that needs the host is made now
            self._classify(group, None)

    def __call__(self, inputs: Inputs) -> tuple[DeviceTable, ...]:
        """The tiles of each class of heads (``plan.heads``), for every batch element."""
        made = []
        for group, (live, whole) in zip(self.plan.heads, self._static, strict=True):
            may, must = self._classify(group, inputs)
            full = whole | (must & live)
            made.append(DeviceTable(live & may & ~full, full))
        return tuple(made)

    def _classify(self, group: HeadPlan, inputs: Inputs | None) -> tuple[Tensor, Tensor]:
        """May any pair of these tiles attend, must all? bool ``[B, query tiles, key tiles]``"""
        lines = []
        for i in range(len(self.plan.layout.q.extents)):
            pairs = [
                self._pair(group.where, i, j, inputs)
                for j in range(len(self.plan.layout.k.extents))
            ]
            lines.append([torch.cat(parts, 2) for parts in zip(*pairs, strict=True)])
        may, must = (torch.cat(parts, 1) for parts in zip(*lines, strict=True))
        return may, must

    def _pair(self, where: Expr, i: int, j: int, inputs: Inputs | None) -> tuple[Tensor, Tensor]:
        """The same of one segment of queries and one of keys."""
        q, k = self.plan.layout.q.extents[i], self.plan.layout.k.extents[j]
        sides = {Side.Q: (i, q), Side.K: (j, k)}

        def leaf(x: Expr) -> Range:
            match x:
                case e.Coord(side=side) | e.Index(side=side):
                    return self._static_ends(side, *sides[side], x)
                case e.TokenInput(side=side, name=name) if inputs is not None:
                    given = inputs.tokens.get((name, side))
                    if given is None:
                        return 0, 0
                    if given.shape[1] == 1:  # those that vary by head are not analysed
                        return self._extremes(given[:, 0], side, sides[side][0])
                    return _unknown(x)
                case e.Table(name=name) if name in self._constants:
                    table = self._constants[name]
                    return min(0, *table.tolist()), max(0, *table.tolist())
                case e.Table(name=name) if inputs is not None:
                    return _entries(inputs.tables[name]) if name in inputs.tables else (0, 0)
                case _:
                    return _unknown(x)

        predicate = specialise(where, q.extent.segment, k.extent.segment)
        must, may = Intervals(_operations(self.device), leaf).of(predicate)
        shape = (1 if inputs is None else inputs.batch, q.tiles, k.tiles)
        return self._truth(may).expand(shape), self._truth(must).expand(shape)

    def _truth(self, x: Any) -> Tensor:
        return x > 0 if isinstance(x, Tensor) else torch.full((), x > 0, device=self.device)

    def _static_ends(self, side: Side, part: int, tiling: ExtentTiling, x: Expr) -> Range:
        """The least and greatest coordinate, or place, of every tile."""
        key = (side, part, x)
        if key not in self._ends:
            values = (
                coordinates(tiling.extent, tiling.tokens, x.axis)
                if isinstance(x, e.Coord)
                else tiling.tokens
            )
            real = tiling.tokens >= 0
            low = np.where(real, values, np.iinfo(np.int64).max).min(axis=1)
            high = np.where(real, values, -1).max(axis=1)
            self._ends[key] = tuple(  # type: ignore[assignment]
                _lay(torch.as_tensor(end, device=self.device)[None], side) for end in (low, high)
            )
        return self._ends[key]

    def _extremes(self, values: Tensor, side: Side, part: int) -> Range:
        """The least and greatest value ``[B, tokens]`` of every tile."""
        places = self._places[side, part]
        wide = torch.float64 if values.is_floating_point() else torch.int64
        spread = values.detach().to(wide)[:, places]
        return _lay(spread.amin(2), side), _lay(spread.amax(2), side)


def _masks(group: HeadPlan, device: torch.device) -> tuple[Tensor, Tensor]:
    """What is visited, and what is full, whatever the inputs are ``[1, rows, columns]``."""
    kinds = torch.as_tensor(group.table.dense(), device=device)[None]
    return kinds > 0, kinds == 2


def _grid_places(tiling: ExtentTiling) -> np.ndarray:
    """Places in the segment ``[tiles, slots]``; padding repeats a tile's first token."""
    tokens = np.where(tiling.tokens >= 0, tiling.tokens, tiling.tokens[:, :1])
    return np.asarray(tokens - tiling.extent.start)


def _lay(x: Tensor, side: Side) -> Tensor:
    """``[B, tiles]`` beside the other side's tiles."""
    return x[:, :, None] if side is Side.Q else x[:, None, :]


def _entries(table: Tensor) -> Range:
    """The range of a table's entries ``[B, 1, 1]``, and 0, which is read outside it."""
    flat = table.detach().flatten(1).to(
        torch.float64 if table.is_floating_point() else torch.int64
    )  # fmt: skip
    if flat.shape[1] == 0:
        return 0, 0
    low, high = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
    return low[:, None, None], high[:, None, None]


def _unknown(x: Expr) -> Range:
    match kind_of(x):
        case Kind.BOOL:
            return 0, 1
        case Kind.INT:
            return -MAX_INTEGER, MAX_INTEGER
        case Kind.FLOAT:
            return -math.inf, math.inf


def _operations(device: torch.device) -> Ops:
    """Interval arithmetic on tensors of a device and Python numbers together."""
    functions = torch_ops(torch.float64).functions

    def both(a: Any, b: Any) -> tuple[Tensor, Tensor]:
        # Numbers become tensors by a fill, which no host waits for; reals are doubles.
        real = any(
            x.is_floating_point() if isinstance(x, Tensor) else isinstance(x, float) for x in (a, b)
        )
        truths = all(
            x.dtype is torch.int8 if isinstance(x, Tensor) else x in (0, 1) for x in (a, b)
        )
        dtype = torch.float64 if real else torch.int8 if truths else torch.int64
        x, y = (
            v.to(dtype) if isinstance(v, Tensor) else torch.full((), v, dtype=dtype, device=device)
            for v in (a, b)
        )
        return x, y

    def joined(plain: Any, of_tensors: Any) -> Any:
        def call(a: Any, b: Any) -> Any:
            if not isinstance(a, Tensor) and not isinstance(b, Tensor):
                return plain(a, b)
            return of_tensors(*both(a, b))

        return call

    def where(c: Any, a: Any, b: Any) -> Any:
        return torch.where(c, *both(a, b)) if isinstance(c, Tensor) else a if c else b

    def function(name: str, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return PYTHON.function(name, x)
        if name == "float":
            return x.double()
        if name == "int":
            return x if not x.is_floating_point() else x.to(torch.int64)
        made = functions[name](x if name in ("ilog2", "pow2", "abs") else x.double())
        # log and sqrt take NaN for a number out of their domain; as a bound it says: unknown.
        return torch.where(x.isnan(), x, made) if name in ("log", "log2", "sqrt") else made

    return Ops(
        minimum=joined(PYTHON.minimum, torch.minimum),
        maximum=joined(PYTHON.maximum, torch.maximum),
        where=where,
        function=function,
        truth=lambda x: x.to(torch.int8) if isinstance(x, Tensor) else int(x),
        # Binding has proved that no divisor is 0, for any value an input may have.
        some=lambda x: False if isinstance(x, Tensor) else bool(x),
        surely=lambda x: not isinstance(x, Tensor) and bool(x),
    )
