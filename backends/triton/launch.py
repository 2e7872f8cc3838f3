"""Kernels launched: the values of their parameters for one call, and its backward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import torch

from attnlang.backends.call import Call
from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.amounts import summing_programs, walk_shares
from attnlang.backends.triton.choices import (
    Choice,
    Shape,
    constants,
    open_blocks,
    padded,
    step_of,
)
from attnlang.backends.triton.descriptors import descriptor, grid_descriptor
from attnlang.backends.triton.form import READ, Kernel
from attnlang.backends.triton.gradients import Key, entries, gradient, key_of
from attnlang.backends.triton.learned import Leaf
from attnlang.backends.triton.module import Kernels, load
from attnlang.backends.triton.shape import shape_of
from attnlang.backends.triton.shares import SHARES, row_of
from attnlang.backends.triton.tables import Tables, arrays
from attnlang.backends.triton.tune import launched
from attnlang.backends.triton.widths import reach
from attnlang.backends.triton.writer import LOG2_E
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side, SymbolName
from attnlang.compiler.problem.problem import BoundGroup, Problem, grid_of

MADE = a.LeafSums | a.RowTop
"""What a pass makes itself."""
_DTYPES = {Kind.BOOL: torch.bool, Kind.INT: torch.int64, Kind.FLOAT: torch.float32}
_SHORT = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Launch:
    """Some heads of one call, which belong to one head group of the pattern.

    tables: of the plan; None where every kernel that runs works its walk out.
    """

    call: Call
    tables: Tables | None
    kernels: Kernels
    bound: BoundGroup
    heads: range
    scale: float

    @property
    def group(self) -> int:
        return self.call.problem.heads // self.call.problem.kv_heads

    @property
    def kv_heads(self) -> range:
        return range(self.heads.start // self.group, (self.heads.stop - 1) // self.group + 1)

    def forward(
        self, out: torch.Tensor, norm: torch.Tensor, met: torch.Tensor, sink: torch.Tensor | None
    ) -> Mapping[str, torch.Tensor]:
        """Writes the heads' part of out ``[B, H, Nq, Dv]`` and norm ``[B, H, Nq]``: of the lse, or
        of the divisor where the weights are no softmax and have one.

        And, where the rule for empty rows asks, of met ``[B, H, Nq]``: has the row a key?
        Gives the largest values of rows, by name, for the backward pass.
        """
        call = self.call
        tensors = {"q": call.q, "k": call.k, "v": call.v, "out": out}
        splits = self._splits()
        like = (splits, *norm.shape)
        new = partial(torch.empty, dtype=torch.float32, device=norm.device)
        tops: dict[str, torch.Tensor] = {}
        for i, kernel in enumerate(self.kernels.row_maxes):
            part = new(like)
            self._run(kernel, tensors, {**tops, "part_top": part}, splits=splits)
            top = part.amax(0)
            tops[f"top{i}"] = torch.where(top.isinf(), 0.0, top)
        rows = {"lse": norm, "divisor": norm, "met": met, **tops}
        rows |= {} if sink is None else {"sink": sink}
        if splits == 1:
            self._run(self.kernels.forward, tensors, rows)
            return tops
        parts = {
            "part_out": new((*like, out.shape[3])), "part_lse": new(like),
            "part_met": torch.empty(like, dtype=met.dtype, device=met.device),
        }  # fmt: skip
        parts["part_divisor"] = parts["part_lse"]
        self._run(self.kernels.split_forward, tensors, {**parts, **tops}, splits=splits)
        self._run(self.kernels.merge, {"out": out}, {**rows, **parts}, splits=splits)
        return tops

    def _splits(self) -> int:
        """How many programs share a walk: several where few queries would leave a machine idle."""
        problem, q = self.call.problem, self.call.q
        heads = len(self.kv_heads) if self.kernels.split_forward.packed else len(self.heads)
        keys = reach(problem, self.bound)
        return walk_shares(problem.q_len, q.shape[0] * heads, keys, q.device)

    def backward(
        self,
        d_out: torch.Tensor,
        norm: torch.Tensor,
        delta: torch.Tensor,
        tops: Mapping[str, torch.Tensor],
        d_q: torch.Tensor,
        d_k: torch.Tensor,
        d_v: torch.Tensor,
    ) -> dict[Key, torch.Tensor]:
        """Writes the heads' part of d_q, and the part of d_k and d_v that flows through them.

        norm, tops: what :meth:`forward` left. delta ``[B, H, Nq]``: the sum of out * d_out, less
        the lse's gradient.
        Gives their part of the gradients of the score's learned tensors.
        """
        call = self.call
        read = {"q": call.q, "k": call.k, "v": call.v, "d_out": d_out}
        programs = self._programs()
        sums = {leaf.number: self._sums(leaf, programs) for leaf in self.kernels.leaves}
        rows = {"lse": finite(norm), "divisor": norm, "delta": delta, **tops}
        rows |= {f"d_leaf{i}": x for i, x in sums.items()}
        k = self.kernels
        for i in reversed(range(len(k.row_max_gradients))):
            # What is taken of an earlier row_max is done when its own slope is added up.
            for name in SHARES:
                dtype = torch.float32 if name == "share" else torch.int32
                rows[row_of(name, i)] = torch.empty_like(norm, dtype=dtype)
            self._run(k.row_max_gradients[i], read, rows)
        self._run(k.query_gradient, {**read, "d_q": d_q}, rows)
        self._run(k.key_gradient, {**read, "d_k": d_k, "d_v": d_v}, rows)
        if k.table_gradient is not None:
            self._run(k.table_gradient, read, rows, programs)
        found: dict[Key, torch.Tensor] = {}
        for leaf in self.kernels.leaves:
            key, part = key_of(leaf), sums[leaf.number]
            part = part.sum(0) if leaf.stands_on is None else part
            found[key] = found.get(key, 0.0) + gradient(call, leaf, part)
        return found

    def _programs(self) -> int:
        """How many programs of a head share the tiles when they add up by entry."""
        sizes = [
            entries(self.call, x.by_entry) for x in self.kernels.leaves if x.by_entry is not None
        ]
        heads = self.call.q.shape[0] * self.call.problem.heads
        return summing_programs(heads, max(sizes, default=1))

    def _sums(self, leaf: Leaf, programs: int) -> torch.Tensor:
        """Zeros to add a leaf's slopes in: ``[B, H, tokens]`` or ``[programs, B, H, entries]``."""
        problem, batch = self.call.problem, self.call.q.shape[0]
        shape: tuple[int, ...]
        match leaf.stands_on:
            case None:
                assert isinstance(leaf.node, e.Table)
                shape = (programs, batch, problem.heads, entries(self.call, leaf.node))
            case side:
                length = problem.q_len if side is Side.Q else problem.k_len
                shape = (batch, problem.heads, length)
        return torch.zeros(shape, dtype=torch.float32, device=self.call.q.device)

    def _run(
        self,
        kernel: Kernel,
        tensors: Mapping[str, torch.Tensor],
        rows: Mapping[str, torch.Tensor],
        programs: int | None = None,
        splits: int = 1,
    ) -> None:
        call = self.call
        given: dict[str, Any] = {**tensors, **rows}
        queries = call.problem.q_len * (self.group if kernel.packed else 1)
        if not kernel.closed:
            assert self.tables is not None
            given |= arrays(self.tables, kernel.stands_on_keys)
        for name, x in tensors.items():
            for i, dimension in enumerate(("batch", "head", "token")):
                given[f"{name}_stride_{dimension}"] = x.stride(i)
        given |= {x.name: value_of(x, call) for x in kernel.extra if not isinstance(x, MADE)}
        d, dv = call.q.shape[3], call.v.shape[3]
        given |= {
            "scale": self.scale,
            "scale_log2": self.scale * LOG2_E,
            "length_q": call.problem.q_len,
            "length_k": call.problem.k_len,
            "group": self.group,
            "first_head": self.heads.start,
            "launched_heads": len(self.heads),
            "launched_kv_heads": len(self.kv_heads),
            "num_heads": call.problem.heads,
            "splits": splits,
            "batches": call.q.shape[0],
        }
        blocks = open_blocks(queries, call.problem.k_len)
        worked_out = Shape(_SHORT[call.q.dtype], d, dv, blocks)
        shape = shape_of(kernel, worked_out, self.tables, self.group)
        function = getattr(load(self.kernels.text), kernel.function.name)
        shared = kernel.stands_on_keys or kernel.packed
        across = call.q.shape[0] * (len(self.kv_heads) if shared else len(self.heads))
        shares = splits if kernel is not self.kernels.merge else 1
        standing = call.problem.k_len if kernel.stands_on_keys else queries

        def run(choice: Choice) -> Any:
            fixed = constants(shape, choice, kernel.stands_on_keys, closed=kernel.closed)
            every = given | fixed
            if kernel.closed:
                every["tiles"] = -(-standing // choice.rows)
            else:
                every["tiles"] = every["rows"] * fixed["PARTS"]
            if self.tables is not None and kernel.boxed and self.tables.boxed is not None:
                every |= self.tables.boxed.steps(choice.step)
            for name in kernel.described:
                stands = (READ[name] is Side.K) == kernel.stands_on_keys
                rows, x = choice.rows if stands else choice.step, tensors[name]
                width = padded(x.shape[3])
                if name in kernel.carved:
                    own = grid_of(call.problem.extents(READ[name]))
                    box = step_of(shape.tile, choice.step)
                    every[name] = grid_descriptor(x[:, :, own.start :], own.lengths, box, width)
                else:
                    every[name] = descriptor(x, rows, width)
            wanted = {n: every[n] for n in (p.name for p in kernel.function.parameters)}
            grid = (every["tiles"] if programs is None else programs, across, shares)
            return function[grid](**wanted, **choice.options)

        lengths = (call.problem.q_len, call.problem.k_len)
        launched(kernel, self.kernels.text, shape, lengths, call.q.device, run)


def number_of(
    argument: a.AxisLength | a.SegmentStart | a.SegmentStop | a.Origin | a.Count, problem: Problem
) -> int:
    """What a kernel is given for a number that lengths and heads decide."""
    match argument:
        case a.AxisLength(side=side, axis=axis):
            extent = next((x for x in problem.extents(side) if axis in x.axes), None)
            if extent is None:  # of the program that this is a step of
                assert problem.outer is not None
                return problem.outer.length(side, axis)
            return extent.lengths[extent.axes.index(axis)]
        case a.SegmentStart(side=side, segment=name):
            return next(x for x in problem.extents(side) if x.segment.name == name).start
        case a.SegmentStop(side=side, segment=name):
            return next(x for x in problem.extents(side) if x.segment.name == name).stop
        case a.Origin(side=side):
            return grid_of(problem.extents(side)).origin[0]
        case a.Count(symbol=symbol):
            return {
                SymbolName.HEADS: problem.heads,
                SymbolName.KV_HEADS: problem.kv_heads,
                SymbolName.HEAD_DIM: problem.head_dim,
            }[symbol]
        case _:
            assert_never(argument)


def value_of(argument: a.Argument, call: Call) -> object:
    """What a kernel is given for one of the parameters that its pattern needs."""
    problem = call.problem
    match argument:
        case a.AxisLength() | a.SegmentStart() | a.SegmentStop() | a.Origin() | a.Count():
            return number_of(argument, problem)
        case a.TokenTensor(side=side, input=name, kind=kind):
            return _token_tensor(call, name, side, kind)
        case a.TokenStride(side=side, input=name, dimension=i):
            x = call.inputs.tokens.get((name, side))
            return 0 if x is None or (x.shape[i] == 1 and i < 2) else x.stride(i)
        case a.TableTensor(table=name, kind=kind):
            return _table(call, name, kind)
        case a.TableStride(table=name, dimension=i):
            x = call.inputs.tables.get(name)
            if x is None:
                return 1 if i == 0 else 0
            return 0 if i < 0 and x.shape[0] == 1 else x.stride(i + 1)
        case a.TableSize(table=name, dimension=i):
            x = call.inputs.tables.get(name)
            if x is not None:
                return x.shape[i + 1]
            return problem.heads if name in dict(problem.pattern.values) else 0
        case a.LeafEntries(node=node):
            return entries(call, node)
        case a.LeafSums() | a.RowTop():
            raise AssertionError("made for each pass")
        case _:
            assert_never(argument)


def _token_tensor(call: Call, name: str, side: Side, kind: Kind) -> torch.Tensor:
    x = call.inputs.tokens.get((name, side))
    if x is None:
        return torch.zeros(1, dtype=_DTYPES[kind], device=call.q.device)
    # The grid's tokens are read with stride 0 and no tensor of their own when there are none.
    return x


def _table(call: Call, name: str, kind: Kind) -> torch.Tensor:
    given = call.inputs.tables.get(name)
    if given is not None:
        return given
    values = dict(call.problem.pattern.values).get(name, (0,))
    assert isinstance(values, tuple)
    entries = values * call.problem.heads if len(values) == 1 else values
    dtype = torch.float64 if kind is Kind.FLOAT else _DTYPES[kind]
    return torch.tensor(entries, dtype=dtype, device=call.q.device)


def finite(lse: torch.Tensor) -> torch.Tensor:
    """The lse for the backward pass: rows without keys weigh nothing."""
    return torch.where(lse.isinf(), math.inf, lse)
