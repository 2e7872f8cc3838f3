"""A program step by step, every attention on the backend that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

import torch

from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.backends.linear import State
from attnlang.backends.program.choose import (
    candidate_scores,
    chosen,
    gathered,
    normalised,
    shared,
)
from attnlang.backends.program.linear import Linear
from attnlang.backends.program.pools import pooled
from attnlang.backends.program.vectors import Value, Vectors
from attnlang.backends.reference.attend import mask
from attnlang.backends.reference.evaluate import Pairs
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Normaliser, PatternIR
from attnlang.compiler.ir.program import Assign, Attention, Branch, Pool, Recurrence, Select, Step
from attnlang.compiler.ir.vector import READOUTS, Map, Space, Tensor
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram

Run = Callable[[Call], tuple[torch.Tensor, torch.Tensor | None]]


def products(x: torch.Tensor, table: torch.Tensor, by_head: bool) -> torch.Tensor:
    """``[B, H, N, ...]``: each vector of ``x [B, H, N, D]`` times each of the table's.

    table: ``[B or 1, (H,) ..., D]``. Sums in float32 or better.
    """
    dtype = accumulation_dtype(x.dtype)
    if by_head and table.shape[1] != x.shape[1]:
        x = x.repeat_interleave(table.shape[1] // x.shape[1], 1)
    middle = table.shape[1 + by_head : -1]
    flat = table.to(dtype).reshape(*table.shape[: 1 + by_head], -1, table.shape[-1])
    flat = flat if by_head else flat[:, None]
    found = x.to(dtype) @ flat.transpose(-1, -2)
    return found.reshape(*found.shape[:3], *middle)


def is_number(step: Step) -> bool:
    """Is it a readout, which later steps read as a number of their tokens?"""
    match step:
        case Assign(value=Map(function=function)):
            return function in READOUTS
        case _:
            return False


class Runner:
    """One call of a program.

    values: every tensor made so far, by name. sets: what each ``select`` has chosen. given, states:
    what each linear attention starts from and leaves behind, by its step's name.
    """

    def __init__(self, bound: BoundProgram, call: Call, run: Run, backend: str) -> None:
        self.bound, self.inputs, self.scale, self.run = bound, call.inputs, call.scale, run
        self.backend = backend
        self.given: dict[str, State] = {}
        self.states: dict[str, State] = {}
        self.values = {name: Value(x) for name, x in (("q", call.q), ("k", call.k), ("v", call.v))}
        frame = bound.frame.pattern
        self.spaces = {
            "q": Space(frame.q_axes, Side.Q, True, Side.Q),
            "k": Space(frame.k_axes, Side.K, True, Side.K),
            "v": Space(frame.k_axes, Side.K, True, Side.K),
        }
        self.sets: dict[str, torch.Tensor] = {}

    def steps(self) -> None:
        """Run every step in order."""
        for step in self.bound.program.steps:
            match step:
                case Pool():
                    source = self.spaces[step.source]
                    x = pooled(self.values[step.source].x, step, source, self.bound)
                    self.values[step.name] = Value(x)
                case Assign(value=Map(function="column_sum", arguments=(Tensor(name=name),))):
                    self.values[step.name] = Value(self._column_sum(name))
                case Assign():
                    vectors = Vectors(self.bound, step.space, self.values, self.inputs)
                    made = vectors.value(step.value)
                    self.values[step.name] = Value(made.x.to(self.values["q"].x.dtype), made.lse)
                case Attention():
                    self.values[step.name] = self._attention(step)
                case Select():
                    with torch.no_grad():
                        self.sets[step.name] = self._select(step)
                    continue
                case _:
                    assert_never(step)
            self.spaces[step.name] = step.space
            if is_number(step):
                number = self.values[step.name].x[..., 0]
                tokens = {**self.inputs.tokens, (step.name, step.space.side): number}
                self.inputs = Inputs(tokens, self.inputs.tables)

    def result(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output ``[B, Hq, Nq, Dv]`` and, where it is one softmax, its lse."""
        vectors = Vectors(self.bound, self.spaces["q"], self.values, self.inputs)
        made = vectors.value(self.bound.program.result)
        return made.x.to(self.values["q"].x.dtype), made.lse

    def _attention(self, step: Attention) -> Value:
        parts = [
            self._recurrence(b) if isinstance(b, Recurrence) else self._branch(b)
            for b in step.branches
        ]
        if len(parts) == 1:
            return parts[0]
        logs = [p.lse for p in parts if p.lse is not None]
        lse = torch.cat(logs, 1) if len(logs) == len(parts) else None
        return Value(torch.cat([p.x for p in parts], 1), lse)

    def _column_sum(self, name: str) -> torch.Tensor:
        """For every key the weights it was given ``[B, Hq, Nk, 1]``: the slope of the summed output
        by values of one feature, whatever the backend."""
        step = next(s for s in self.bound.program.steps if s.name == name)
        assert isinstance(step, Attention)
        branch = step.branches[0]
        assert isinstance(branch, Branch)
        with torch.enable_grad():
            heads, k = self.bound.frame.heads, self.values[branch.keys[0]].x
            ones = k.new_zeros((k.shape[0], heads, k.shape[2], 1)).requires_grad_()
            given = self.values
            self.values = {n: Value(v.x.detach()) for n, v in given.items()}
            self.values[branch.values[0]] = Value(ones)
            out = self._branch(branch).x
            self.values = given
            (found,) = torch.autograd.grad(out.sum(), ones)
        return found

    def _recurrence(self, step: Recurrence) -> Value:
        start, stop = self.bound.heads_of(step)
        name = step.pattern.name.partition(".")[2]
        q = self.values[step.query].x[:, start:stop]
        k, v = (self._joined((x,), start, stop) for x in (step.key, step.value))
        made = Linear(self.bound, step, self.spaces[step.key], self.inputs, slice(start, stop))
        out, state = made.run(q, k, v, self.scale, self.given.get(name), self.backend)
        self.states[name] = state
        return Value(out)

    def _branch(self, branch: Branch) -> Value:
        start, stop = self.bound.heads_of(branch)
        q = self.values[branch.query].x[:, start:stop]
        keys = {name: self.spaces[name] for name in branch.keys}
        query = self.spaces[branch.query]
        k = self._joined(branch.keys, start, stop)
        v = self._joined(branch.values, start, stop)
        heads = max(k.shape[1], v.shape[1])
        k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
        if k.shape[2] == 0:
            wide = accumulation_dtype(q.dtype)
            none = torch.full(q.shape[:3], -math.inf, dtype=wide, device=q.device)
            return Value(q.new_zeros((*q.shape[:3], v.shape[3])), none)
        problem = self.bound.bound(branch.pattern, query, keys, stop - start, heads, q.shape[3])
        inputs = self._inputs(branch.pattern, query, keys, start, stop)
        for made in branch.products:
            x = q if made.side is Side.Q else k
            table = self.inputs.tables.get(made.table)
            if table is not None:
                of = table[:, start:stop] if made.by_head else table
                inputs = inputs.with_table(made.name, products(x, of, made.by_head))
        out, lse = self.run(Call(problem, q, k, v, inputs, self.scale, True))
        softmax = all(g.attend.normaliser is Normaliser.SOFTMAX for g in problem.groups)
        return Value(out, lse if softmax else None)

    def _joined(self, names: tuple[str, ...], start: int, stop: int) -> torch.Tensor:
        """Tensors one behind the other, for some heads."""
        pieces = [self.values[n].x for n in names]
        heads = max(x.shape[1] for x in pieces)
        x = torch.cat([p.repeat_interleave(heads // p.shape[1], 1) for p in pieces], 2)
        every = self.bound.frame.heads
        if stop - start == every or heads == 1:
            return x
        repeat = every // heads
        if start % repeat or stop % repeat:
            return x.repeat_interleave(repeat, 1)[:, start:stop]
        return x[:, start // repeat : stop // repeat]

    def _inputs(
        self, pattern: PatternIR, query: Space, keys: dict[str, Space], start: int, stop: int
    ) -> Inputs:
        """The call's tensors as a step's tokens see them."""
        key = next((s for s in keys.values() if s.whole), list(keys.values())[-1])
        tokens, tables = {}, {}
        for decl in pattern.inputs:
            if decl.name in self.sets:
                tables[decl.name] = self.sets[decl.name]
            for side, space in ((Side.Q, query), (Side.K, key)):
                x = self.inputs.tokens.get((decl.name, space.side))
                if side in decl.sides and x is not None:
                    tokens[decl.name, side] = x[:, start:stop] if x.shape[1] > 1 else x
            if not decl.sides and decl.name in self.inputs.tables:
                tables[decl.name] = self.inputs.tables[decl.name]
            elif not decl.sides and decl.name not in tables:
                found = self._as_table(decl.name)
                if found is not None:
                    tables[decl.name] = found
        return Inputs(tokens, tables)

    def _as_table(self, name: str) -> torch.Tensor | None:
        """A token input of the whole pattern, read as a table where its tokens are others."""
        decl = next((i for i in self.bound.frame.pattern.inputs if i.name == name), None)
        if decl is None:
            return None
        side = decl.sides[0] if decl.sides else Side.Q
        x = self.inputs.tokens.get((name, side))
        if x is None:
            return None
        grid = next(e for e in self.bound.frame.extents(side) if e.segment.is_grid)
        table: torch.Tensor = x.unflatten(2, grid.lengths)
        if "head" not in decl.dims:
            return table[:, 0]
        return table.movedim(1, 1 + [d for d in decl.dims if d != "batch"].index("head"))

    def _select(self, step: Select) -> torch.Tensor:
        """The set as a table: ``[B, (heads,) queries' axes..., keys' axes...]``."""
        query, key = self.spaces[step.query], self.spaces[step.key]
        q, k = self.values[step.query].x, self.values[step.key].x
        heads = step.dims[0] in ("head", "kv_head")
        axes = step.dims[1:] if heads else step.dims
        names = axes[len(query.axes) :]
        runs = key if tuple(names) == key.axes else Space(tuple(names), key.side, False, key.heads)
        counts = self.bound.lengths(runs)
        shape = (*self.bound.lengths(query), *counts)
        if 0 in shape or 0 in self.bound.lengths(key):
            lead = (1, 1)[: 1 + heads]
            return torch.zeros((*lead, *shape), dtype=torch.bool, device=q.device)
        kv_heads = k.shape[1]
        problem = self.bound.bound(
            step.pattern, query, {"keys": key}, q.shape[1], kv_heads, q.shape[3]
        )
        inputs = self._inputs(step.pattern, query, {"keys": key}, 0, q.shape[1])
        scores, allowed = candidate_scores(problem, q, k, inputs, self.scale)
        scores = normalised(scores, allowed, step.normalise)
        scores, allowed = shared(scores, allowed, step, self.bound.frame.kv_heads)
        if step.gather is not None:
            inner = self.bound.bound(step.gather.pattern, runs, {"keys": key}, 1, 1, 1)
            belongs = mask(inner, Inputs(), q.device)[0, 0]
            scores, allowed = gathered(scores, allowed, belongs, step.gather.rule)
        forced = torch.zeros((), dtype=torch.bool, device=q.device)
        if step.force is not None:
            forced = self._forced(step, query, runs, inputs, scores.shape[1])
        amount = float(self.bound.number(step.rule.amount))
        found = chosen(scores, allowed, forced.expand(scores.shape), step, amount)
        found = found.reshape(*found.shape[:2], *shape)
        return found if heads else found[:, 0]

    def _forced(
        self, step: Select, query: Space, runs: Space, inputs: Inputs, heads: int
    ) -> torch.Tensor:
        assert step.force is not None
        frame = self.bound.frame
        problem = Problem(
            frame.pattern,
            heads,
            min(heads, frame.kv_heads),
            frame.head_dim,
            self.bound.extents(query),
            self.bound.extents(runs),
            (),
        )
        return Pairs(problem, inputs, self.values["q"].x.device).value(self.bound.close(step.force))
