"""A program step by step, every attention on the backend that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import torch

from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.backends.linear import State
from attnlang.backends.linear.form import repeated
from attnlang.backends.program.choose import (
    by_set,
    candidate_scores,
    chosen,
    gathered,
    normalised,
    set_heads,
    shared,
)
from attnlang.backends.program.linear import Linear
from attnlang.backends.program.pools import pooled
from attnlang.backends.program.vectors import Value, Vectors, check_tokens
from attnlang.backends.reference.attend import mask
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, EmptyRule, Normaliser, PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Pool,
    Recurrence,
    Select,
    SizeOf,
    condition_by_head,
)
from attnlang.compiler.ir.vector import COUNTS, OF_KEYS, ONE, READOUTS, Map, Space, Tensor, lone
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


def counting(pattern: PatternIR) -> PatternIR:
    """The pattern where every pair that attends has the weight 1."""
    groups = (
        replace(
            g,
            attend=Attend(
                g.attend.where,
                e.Float(1.0),
                empty=EmptyRule.ZERO,
                normaliser=Normaliser.NONE,
            ),
        )
        for g in pattern.groups
    )
    return replace(pattern, groups=tuple(groups))


def is_number(step: Assign) -> bool:
    """Is it a readout, which later steps read as a number of their tokens?"""
    return isinstance(step.value, Map) and step.value.function in READOUTS


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
        given = {"q": call.q, "k": call.k, "v": call.v}
        for side, like in ((Side.Q, call.q), (Side.K, call.k)):
            given[lone(side)[0]] = like.new_zeros((*like.shape[:2], 1, like.shape[3]))
        self.values = {name: Value(x) for name, x in given.items()}
        self.sets: dict[str, torch.Tensor] = {}

    def steps(self) -> None:
        """Run every step in order."""
        for step in self.bound.program.steps:
            match step:
                case Pool():
                    source = self.bound.spaces[step.source]
                    x = pooled(self.values[step.source].x, step, source, self.bound)
                    self.values[step.name] = Value(x)
                case Assign(value=Map(function="column_sum", arguments=(Tensor(name=name),))):
                    self.values[step.name] = Value(self._column_sum(name))
                case Assign(value=Map(function=kind, arguments=(Tensor(name=name),))) if (
                    kind in COUNTS
                ):
                    self.values[step.name] = Value(self._count(name, kind in OF_KEYS))
                case Assign():
                    vectors = Vectors(self.bound, step.space, self.values, self._visible())
                    made = vectors.value(step.value)
                    self.values[step.name] = Value(made.x.to(self.values["q"].x.dtype), made.lse)
                case Attention():
                    self.values[step.name] = self._attention(step)
                case Select():
                    with torch.no_grad():
                        self.sets[step.name] = self._select(step)
                case _:
                    assert_never(step)
            if isinstance(step, Assign) and is_number(step):
                number = self.values[step.name].x[..., 0]
                tokens = {**self.inputs.tokens, (step.name, step.space.side): number}
                self.inputs = Inputs(tokens, self.inputs.tables)

    def result(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output ``[B, Hq, Nq, Dv]`` and, where it is one softmax, its lse."""
        vectors = Vectors(self.bound, self.bound.spaces["q"], self.values, self._visible())
        made = vectors.value(self.bound.program.result)
        return made.x.to(self.values["q"].x.dtype), made.lse

    def _attention(self, step: Attention) -> Value:
        parts = [
            self._recurrence(b) if isinstance(b, Recurrence) else self._branch(b)
            for b in step.branches
            if not self._empty(b)
        ]
        if len(parts) == 1:
            return parts[0]
        logs = [p.lse for p in parts if p.lse is not None]
        lse = torch.cat(logs, 1) if len(logs) == len(parts) else None
        return Value(torch.cat([p.x for p in parts], 1), lse)

    def _empty(self, branch: Branch | Recurrence) -> bool:
        """A group without heads, as parameters may have it."""
        start, stop = self.bound.heads_of(branch)
        return start >= stop

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

    def _count(self, name: str, of_keys: bool) -> torch.Tensor:
        """How many keys each query attends ``[B, H or 1, Nq, 1]``, or how many queries each key.

        These are sums of an attention whose weights are all 1, in float32.
        """
        step = next(s for s in self.bound.program.steps if s.name == name)
        assert isinstance(step, Attention)
        branch = step.branches[0]
        assert isinstance(branch, Branch)
        (key,) = branch.keys
        heads = self.bound.frame.heads if condition_by_head(branch.pattern) else 1
        query, keys = self.bound.spaces[branch.query], {key: self.bound.spaces[key]}
        pattern = counting(branch.pattern)
        problem = self.bound.bound(pattern, query, keys, heads, heads, 1)
        lengths = (self.values[x].x.shape[2] for x in (branch.query, key, key))
        first = self.values[key].x
        q, k, v = (torch.ones(len(first), heads, n, 1, device=first.device) for n in lengths)
        inputs = self._inputs(pattern, query, keys, 0, heads)
        with torch.enable_grad():
            v.requires_grad_(of_keys)
            out, _ = self.run(Call(problem, q, k, v, inputs, None, False))
            return torch.autograd.grad(out.sum(), v)[0] if of_keys else out

    def _queries(self, name: str, start: int, stop: int) -> torch.Tensor:
        """A tensor with a vector for every query head, some of the heads."""
        return repeated(self.values[name].x, self.bound.frame.heads)[:, start:stop]

    def _recurrence(self, step: Recurrence) -> Value:
        start, stop = self.bound.heads_of(step)
        name = step.pattern.name.partition(".")[2]
        q = self._queries(step.query, start, stop)
        k, v = (self._joined((x,), start, stop) for x in (step.key, step.value))
        made = Linear(
            self.bound, step, self.bound.spaces[step.key], self.inputs, slice(start, stop)
        )
        out, state = made.run(q, k, v, self.scale, self.given.get(name), self.backend)
        self.states[name] = state
        return Value(out)

    def _branch(self, branch: Branch) -> Value:
        start, stop = self.bound.heads_of(branch)
        q = self._queries(branch.query, start, stop)
        keys = {name: self.bound.spaces[name] for name in branch.keys}
        query = self.bound.spaces[branch.query]
        k = self._joined(branch.keys, start, stop)
        v = self._joined(branch.values, start, stop)
        check_tokens(v, k.shape[2], ", ".join(branch.values))
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

    def _visible(self) -> Inputs:
        """What expressions beside tensors read: the call's tensors, and the sets made so far."""
        own = {i.name: self._as_table(i.name) for i in self.bound.frame.pattern.inputs if i.sides}
        tables = {name: x for name, x in own.items() if x is not None}
        return Inputs(self.inputs.tokens, {**tables, **self.inputs.tables, **self.sets})

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
        query, key = self.bound.spaces[step.query], self.bound.spaces[step.key]
        q = self.values[step.query].x
        one = 1 + step.dims.index(ONE) if ONE in step.dims else None
        rows = query
        if step.rows is not None:
            named = step.dims[step.by_head : step.by_head + len(query.axes)]
            rows = Space(named, query.side, False, query.heads)
        axes = step.dims[step.by_head + len(query.axes) :]
        runs = key if axes == key.axes else Space(axes, key.side, False, key.heads)
        lengths = (*self.bound.lengths(rows), *self.bound.lengths(runs))
        if 0 in lengths:
            none = (1,) * (1 + step.by_head)
            empty = torch.zeros((*none, *lengths), dtype=torch.bool, device=q.device)
            return empty if one is None else empty.squeeze(one)
        if 0 in self.bound.lengths(key):  # nothing to score: what is forced is chosen all the same
            groups = set_heads(step, q.shape[1], self.bound.frame.kv_heads)
            pairs = (math.prod(self.bound.lengths(x)) for x in (rows, runs))
            allowed = q.new_zeros((q.shape[0], groups, *pairs), dtype=torch.bool)
            scores = allowed.to(accumulation_dtype(q.dtype))
        else:
            scores, allowed = self._scored(step, query, key)
            if step.gather is not None:
                belongs = self._pairs(step.gather.pattern, runs, key, 1)[0, 0]
                scores, allowed = gathered(scores, allowed, belongs, step.gather.rule)
            if step.rows is not None:
                belongs = self._pairs(step.rows.pattern, query, rows, 1)[0, 0].T
                turned = gathered(scores.mT, allowed.mT, belongs, step.rows.rule)
                scores, allowed = (x.mT for x in turned)
        forced = None
        if step.force is not None:
            always = self._pairs(step.force, rows, runs, q.shape[1])
            forced = by_set(always, step, self.bound.frame.kv_heads).any(2)
        amount: float | torch.Tensor
        if isinstance(step.rule.amount, SizeOf):
            amount = self.sets[step.rule.amount.name]
            amount = amount if one is None else amount.unsqueeze(one)
        else:
            amount = float(self.bound.number(step.rule.amount))
        found = chosen(scores, allowed, forced, step, amount, lengths)
        return found if one is None else found.squeeze(one)

    def _scored(self, step: Select, query: Space, key: Space) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores ``[B, heads of the set, queries, keys]`` and which of them are candidates."""
        q, k = self.values[step.query].x, self.values[step.key].x
        heads, kv_heads = q.shape[1], k.shape[1]
        problem = self.bound.bound(step.pattern, query, {"keys": key}, heads, kv_heads, q.shape[3])
        inputs = self._inputs(step.pattern, query, {"keys": key}, 0, heads)
        scores, allowed = candidate_scores(problem, q, k, inputs, self.scale)
        scores, allowed = (self._on_axes(x, query, key) for x in (scores, allowed))
        scores = normalised(scores, allowed, step.normalise)
        return shared(scores, allowed, step, self.bound.frame.kv_heads)

    def _pairs(self, pattern: PatternIR, query: Space, key: Space, heads: int) -> torch.Tensor:
        """Where a condition holds: bool ``[B or 1, heads, queries, keys]``."""
        problem = self.bound.bound(pattern, query, {"keys": key}, heads, heads, 1)
        inputs = self._inputs(pattern, query, {"keys": key}, 0, heads)
        return self._on_axes(mask(problem, inputs, self.values["q"].x.device), query, key)

    def _on_axes(self, x: torch.Tensor, query: Space, key: Space) -> torch.Tensor:
        """``[B, H, queries, keys]`` without the tokens of prefixes and suffixes."""
        q, k = (next(e for e in self.bound.extents(s) if e.segment.is_grid) for s in (query, key))
        return x[:, :, q.start : q.stop, k.start : k.stop]
