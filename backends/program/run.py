"""A program step by step, every attention on the backend that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.backends.linear import State
from attnlang.backends.linear.form import repeated
from attnlang.backends.listed import Listed, Sets
from attnlang.backends.program.fill import fill
from attnlang.backends.program.linear import Linear
from attnlang.backends.program.moves import moved
from attnlang.backends.program.order import ranks
from attnlang.backends.program.pools import grid_tokens, pooled
from attnlang.backends.program.products import product_table
from attnlang.backends.program.readouts import column_sum, count, row_sum
from attnlang.backends.program.regions import regions
from attnlang.backends.program.vectors import Value, Vectors, check_tokens
from attnlang.backends.reference.attend import mask
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Normaliser, PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Pool,
    Recurrence,
    Select,
    Turn,
    weights_of,
)
from attnlang.compiler.ir.reads import names_in, read_names
from attnlang.compiler.ir.vector import (
    COUNTS,
    OF_KEYS,
    Map,
    Scalar,
    Space,
    Tensor,
    Vector,
    is_number,
    lone,
)
from attnlang.compiler.problem.problem import grid_of
from attnlang.compiler.problem.program import BoundProgram

Run = Callable[[Call], tuple[torch.Tensor, torch.Tensor | None]]


def step_name(step: Recurrence) -> str:
    """Under which its state is returned and given."""
    return step.pattern.name.partition(".")[2]


def vectors_of(x: torch.Tensor, space: Space, batch: int) -> torch.Tensor:
    """An input ``[B or 1, (heads,) axes..., D]`` as a tensor ``[B, heads or 1, tokens, D]``."""
    if x.dim() == 2 + len(space.axes):
        x = x.unsqueeze(1)
    return x.flatten(2, -2).expand(batch, -1, -1, -1)


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
        self.sets = Sets()
        for name, space in bound.program.given:
            self.values[name] = Value(vectors_of(call.inputs.tables[name], space, call.q.shape[0]))

    @property
    def reads_lists(self) -> bool:
        """Does the backend go by the places of a set's members? To others sets are tables."""
        return self.backend != "reference"

    def reads(self, name: str) -> bool:
        """Does any step read a table of that name?"""
        program = self.bound.program
        return name in read_names(program.steps, program.result)

    def start(self, states: Mapping[str, State]) -> None:
        """What linear attentions go on from. Raises ArgumentError for a name that is none's."""
        steps = (s for s in self.bound.program.steps if isinstance(s, Attention))
        known = {step_name(b) for s in steps for b in s.branches if isinstance(b, Recurrence)}
        for name in states:
            if name not in known:
                there = ", ".join(sorted(known)) or "none"
                raise ArgumentError(f"no linear attention is called `{name}`: there is {there}")
        self.given.update(states)

    def steps(self, *, sets_alone: bool = False) -> None:
        """Run every step in order. sets_alone: up to the last selection."""
        steps = self.bound.program.steps
        if sets_alone:
            steps = steps[
                : max((i + 1 for i, s in enumerate(steps) if isinstance(s, Select)), default=0)
            ]
        for step in steps:
            match step:
                case Pool(chosen=str(chosen)):
                    source = self.bound.spaces[step.source]
                    x = self.values[step.source].x
                    x = moved(x, self.sets[chosen], step, source, self.bound)
                    self.values[step.name] = Value(x)
                case Pool():
                    self.values[step.name] = Value(self._pool(step))
                case Assign(value=Map(function="column_sum", arguments=(Tensor(name=name),))):
                    self.values[step.name] = Value(column_sum(self, name))
                case Assign(
                    value=Map(function="row_sum", arguments=(Tensor(name=name), Scalar() as told))
                ):
                    self.values[step.name] = Value(row_sum(self, name, told))
                case Assign(value=Map(function=kind, arguments=arguments)) if kind in COUNTS:
                    found = count(self, arguments, step.space, kind in OF_KEYS)
                    self.values[step.name] = Value(found)
                case Assign(value=Map(function="rank", arguments=(Scalar(value=value),))):
                    numbers = self.vectors(step.space, step.value).number(value)
                    self.values[step.name] = Value(ranks(numbers, self._axes_of(step.space)))
                case Assign():
                    made = self.vectors(step.space, step.value).value(step.value)
                    if not is_number(step.value):  # exponents come of these: as accumulated
                        made = Value(made.x.to(self.values["q"].x.dtype), made.lse)
                    self.values[step.name] = made
                case Turn():
                    made = self.vectors(step.made, step.value).value(step.value)
                    x = made.x.transpose(-1, -2)
                    self.values[step.name] = Value(x.to(self.values["q"].x.dtype))
                    self._check_turned(step, x)
                case Attention(name=name) if name in self.bound.program.told:
                    pass
                case Attention():
                    self.values[step.name] = self._attention(step)
                case Select():
                    filled = fill(step, self)
                    self.sets.made[step.name] = filled.members
                    if filled.weights is not None:
                        self.inputs = self.inputs.with_table(weights_of(step.name), filled.weights)
                case _:
                    assert_never(step)
            if isinstance(step, Assign) and is_number(step.value):
                x = self.values[step.name].x[..., 0]
                number = x if x.shape[1] == 1 else repeated(x, self.bound.frame.heads)
                number = number[..., self._axes_of(step.space)]
                tokens = {**self.inputs.tokens, (step.name, step.space.side): number}
                table = number.unflatten(2, self.bound.lengths(step.space))
                table = table if step.space.heads is Side.Q else table[:, 0]
                self.inputs = Inputs(tokens, {**self.inputs.tables, step.name: table})

    def _axes_of(self, space: Space) -> slice:
        """The tokens that lie on its axes: those of prefixes and suffixes have no numbers."""
        grid = grid_of(self.bound.extents(space))
        return slice(grid.start, grid.stop)

    def result(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output ``[B, Hq, Nq, Dv]`` and, where it is one softmax, its lse."""
        result = self.bound.program.result
        made = self.vectors(self.bound.spaces["q"], result).value(result)
        return made.x.to(self.values["q"].x.dtype), made.lse

    def _attention(self, step: Attention) -> Value:
        parts = [
            self._recurrence(b) if isinstance(b, Recurrence) else self.branch(b)
            for b in step.branches
            if not self._empty(b)
        ]
        if len(parts) == 1:
            return parts[0]
        logs = [p.lse for p in parts if p.lse is not None]
        lse = torch.cat(logs, 1) if len(logs) == len(parts) else None
        return Value(torch.cat([p.x for p in parts], 1), lse)

    def _pool(self, step: Pool) -> torch.Tensor:
        source, x = self.bound.spaces[step.source], self.values[step.source].x
        if step.where is None:
            return pooled(x, step, source, self.bound)
        x, keys = grid_tokens(x, step, source, self.bound), replace(source, whole=False)
        problem = self.bound.bound(step.where, step.space, {step.source: keys}, 1, 1, 1)
        inputs = self.inputs_of(step.where, step.space, {step.source: keys}, 0, 1)
        return regions(x, mask(problem, inputs, x.device)[:, 0], step.reduction)

    def _check_turned(self, step: Turn, x: torch.Tensor) -> None:
        """As many features as there are channels, or as many as were tokens before."""
        wanted = self.bound.tokens(step.space)
        if x.shape[2] != wanted:
            raise ArgumentError(f"`{step.name}` would have {x.shape[2]} tokens, not {wanted}")

    def _empty(self, branch: Branch | Recurrence) -> bool:
        """A group without heads, as parameters may have it."""
        start, stop = self.bound.heads_of(branch)
        return start >= stop

    def _queries(self, name: str, start: int, stop: int) -> torch.Tensor:
        """A tensor with a vector for every query head, some of the heads."""
        x = repeated(self._joined((name,), start, stop), stop - start)
        return x.to(self.values["q"].x.dtype)

    def _recurrence(self, step: Recurrence) -> Value:
        start, stop = self.bound.heads_of(step)
        name = step_name(step)
        q = self._queries(step.query, start, stop)
        k, v = (self._joined((x,), start, stop) for x in (step.key, step.value))
        made = Linear(
            self.bound, step, self.bound.spaces[step.key], self.inputs, slice(start, stop),
            self.backend,
        )  # fmt: skip
        out, state = made.run(q, k, v, self.scale, self.given.get(name))
        if state is not None:
            self.states[name] = state
        return Value(out)

    def branch(self, branch: Branch, values: torch.Tensor | None = None) -> Value:
        """The attention, or what it gives with others' ``values`` ``[B, H, Nk, Dv]``."""
        start, stop = self.bound.heads_of(branch)
        q = self._queries(branch.query, start, stop)
        keys = {name: self.bound.spaces[name] for name in branch.keys}
        query = self.bound.spaces[branch.query]
        k = self._joined(branch.keys, start, stop)
        v = self._joined(branch.values, start, stop) if values is None else values
        check_tokens(v, k.shape[2], ", ".join(branch.values))
        heads = max(k.shape[1], v.shape[1])
        k, v = (x.to(q.dtype).repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
        if q.shape[3] != k.shape[3]:
            name = branch.pattern.name
            widths = f"queries of {q.shape[3]} features, keys of {k.shape[3]}"
            raise ArgumentError(f"`{name}` has {widths}")
        if k.shape[2] == 0:
            wide = accumulation_dtype(q.dtype)
            none = torch.full(q.shape[:3], -math.inf, dtype=wide, device=q.device)
            return Value(q.new_zeros((*q.shape[:3], v.shape[3])), none)
        problem = self.bound.bound(branch.pattern, query, keys, stop - start, heads, q.shape[3])
        inputs = self.inputs_of(branch.pattern, query, keys, start, stop, listed=True)
        for made in branch.products:
            table = self.inputs.tables.get(made.table)
            if table is not None:
                of = table[:, start:stop] if made.by_head else table
                inputs = inputs.with_table(made.name, product_table(made, q, k, of))
        out, lse = self.run(Call(problem, q, k, v, inputs, self.scale, True))
        softmax = all(g.attend.normaliser is Normaliser.SOFTMAX for g in problem.groups)
        return Value(out, lse if softmax else None)

    def _joined(self, names: tuple[str, ...], start: int, stop: int) -> torch.Tensor:
        """Tensors one behind the other, for some heads."""
        pieces = [self.values[n].x.to(self.values["q"].x.dtype) for n in names]
        heads = max(x.shape[1] for x in pieces)
        x = torch.cat([p.repeat_interleave(heads // p.shape[1], 1) for p in pieces], 2)
        every = self.bound.frame.heads
        if stop - start == every or heads == 1:
            return x
        repeat = every // heads
        if start % repeat or stop % repeat:
            return x.repeat_interleave(repeat, 1)[:, start:stop]
        return x[:, start // repeat : stop // repeat]

    def inputs_of(
        self,
        pattern: PatternIR,
        query: Space,
        keys: dict[str, Space],
        start: int,
        stop: int,
        listed: bool = False,
    ) -> Inputs:
        """The call's tensors as a step's tokens see them. listed: sets may stay lists."""
        key = next((s for s in keys.values() if s.whole), list(keys.values())[-1])
        tokens, tables, lists = {}, {}, {}
        for decl in pattern.inputs:
            made = self.sets.made.get(decl.name)
            if listed and isinstance(made, Listed):
                lists[decl.name] = made
            elif made is not None:
                tables[decl.name] = self.sets[decl.name]
            for side, space in ((Side.Q, query), (Side.K, key)):
                x = self.inputs.tokens.get((decl.name, space.side))
                if side in decl.sides and x is not None:
                    tokens[decl.name, side] = x[:, start:stop] if x.shape[1] > 1 else x
            if not decl.sides and decl.name in self.inputs.tables:
                tables[decl.name] = self.inputs.tables[decl.name]
            elif not decl.sides and decl.name not in tables and decl.name not in lists:
                found = self._as_table(decl.name)
                if found is not None:
                    tables[decl.name] = found
        return Inputs(tokens, tables, lists)

    def vectors(self, space: Space, value: Vector) -> Vectors:
        """What evaluates a vector. Numbers beside its tensors read the call's tensors, and sets."""
        own = {i.name: self._as_table(i.name) for i in self.bound.frame.pattern.inputs if i.sides}
        tables = {name: x for name, x in own.items() if x is not None}
        tables |= {**self.inputs.tables}
        tables |= {name: self.sets[name] for name in {*names_in(value)} & {*self.sets}}
        return Vectors(self.bound, space, self.values, Inputs(self.inputs.tokens, tables))

    def _as_table(self, name: str) -> torch.Tensor | None:
        """A token input of the whole pattern, read as a table where its tokens are others."""
        decl = next((i for i in self.bound.frame.pattern.inputs if i.name == name), None)
        if decl is None:
            return None
        side = decl.sides[0] if decl.sides else Side.Q
        x = self.inputs.tokens.get((name, side))
        if x is None:
            return None
        grid = grid_of(self.bound.frame.extents(side))
        table: torch.Tensor = x.unflatten(2, grid.lengths)
        if "head" not in decl.dims:
            return table[:, 0]
        return table.movedim(1, 1 + [d for d in decl.dims if d != "batch"].index("head"))
