"""Filling a set: scores of its candidates, of the runs they belong to, and the choice.

Where every query has choices of its own, they are made for a slice of the queries at a time: scores
are never all there at once, unless they have a gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import accumulation_dtype
from attnlang.backends.listed import Listed, listed, listed_within
from attnlang.backends.program.choose import (
    candidate_scores,
    chosen_spaces,
    member_weights,
    set_heads,
    weights,
)
from attnlang.backends.program.probe import probed, probes
from attnlang.backends.program.rules import (
    Choices,
    Scores,
    by_set,
    gathered,
    minmaxed,
    pick,
    set_scores,
)
from attnlang.backends.reference.attend import mask
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import (
    Gather,
    Gradient,
    Normalise,
    Search,
    Select,
    SizeOf,
    Ties,
    weights_of,
)
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.vector import ONE, Space, lone
from attnlang.compiler.problem.problem import Problem, grid_of

if TYPE_CHECKING:
    from attnlang.backends.program.run import Runner

SLICE_BYTES = 1 << 26
"""Scores that are there at once."""


@dataclass(frozen=True, slots=True)
class Filled:
    """members: bool ``[B, (heads,) queries' axes..., keys' axes...]``, or listed; weights: a table
    of this shape, where the set has some."""

    members: torch.Tensor | Listed
    weights: torch.Tensor | None = None


def fill(step: Select, run: Runner) -> Filled:
    """Choose."""
    stop = step.gradient is Gradient.STOP or not run.reads(weights_of(step.name))
    with torch.set_grad_enabled(torch.is_grad_enabled() and not stop):
        found = _Filling(step, run, not stop).all()
    if ONE not in step.dims:
        return found
    one = 1 + step.dims.index(ONE)
    weights = None if found.weights is None else found.weights.squeeze(one)
    assert isinstance(found.members, torch.Tensor)
    return Filled(found.members.squeeze(one), weights)


class _Filling:
    """One set of one call. weighed: with weights. rows, runs: where its queries and its members
    lie."""

    def __init__(self, step: Select, run: Runner, weighed: bool) -> None:
        self.step, self.run, self.bound, self.weighed = step, run, run.bound, weighed
        self.query, self.key = run.bound.spaces[step.query], run.bound.spaces[step.key]
        self.q, self.k = run.values[step.query].x, run.values[step.key].x
        if step.key == lone(Side.K)[0]:  # as wide as what is chosen from
            self.k = self.k.new_zeros((*self.k.shape[:3], self.q.shape[3]))
        elif step.query == lone(Side.Q)[0]:
            self.q = self.q.new_zeros((*self.q.shape[:3], self.k.shape[3]))
        self.rows, self.runs = chosen_spaces(step, self.query, self.key)
        self.sets = set_heads(step, self.q.shape[1], run.bound.frame.kv_heads)
        self.lengths = run.bound.lengths(self.rows), run.bound.lengths(self.runs)

    def all(self) -> Filled:
        grids = (e for e in self.bound.extents(self.query) if e.segment.is_grid)
        if self.rows is not self.query and any(e.origin[0] for e in grids):
            name = self.step.name
            raise ArgumentError(f"`{name}` gathers queries: it needs all of them, not q_offset")
        q_lengths, k_lengths = self.lengths
        lead = (len(self.q), self.sets) if self.step.by_head else (len(self.q),)
        count = math.prod(q_lengths)
        if 0 in (*q_lengths, *k_lengths):
            none = self.q.new_zeros((*lead, *q_lengths, *k_lengths), dtype=torch.bool)
            wide = none.to(accumulation_dtype(self.q.dtype)) if self.weighed else None
            return Filled(none, wide)
        lists = self._bounded()
        found = self._probed()
        if found is not None:
            asked = Listed(found, q_lengths, k_lengths, self.step.by_head)
            return Filled(asked if lists else asked.table())
        size = count
        if self._by_query():
            scored = math.prod(self.bound.lengths(self.key))
            each = len(self.q) * self.sets * max(scored, *k_lengths)
            size = max(1, SLICE_BYTES // (each * accumulation_dtype(self.q.dtype).itemsize))
        slices = [(i, min(i + size, count)) for i in range(0, count, size)]
        shape = (*lead, *q_lengths, *k_lengths)
        members, weights = [], []
        for start, stop in slices:
            some, given = self._part(start, stop)
            members.append(self._listed(some) if lists else some)
            weights += [] if given is None else [given]
        made = torch.cat(weights, 2).reshape(shape) if weights else None
        if not lists:
            return Filled(torch.cat(members, 2).reshape(shape), made)
        most = max(x.shape[3] for x in members)
        index = torch.cat([F.pad(x, (0, most - x.shape[3]), value=-1) for x in members], 2)
        return Filled(Listed(index, q_lengths, k_lengths, self.step.by_head), made)

    def _probed(self) -> torch.Tensor | None:
        """The members that a search finds without all scores, as of a list."""
        step, rule = self.step, self.step.rule
        if step.search is Search.ALL or ONE in step.dims or self._nothing_scored():
            return None
        if rule.kind != "top" or isinstance(rule.amount, SizeOf):
            return None
        own = step.by_head + len(self.lengths[0])
        amount = int(self.bound.number(rule.amount))
        if amount < 1 or self.weighed or not {*range(own)} <= {*rule.per}:
            return None
        problem = self._problem()
        found = probes(step, self.bound, problem, (self.query, self.key, self.rows, self.runs))
        if found is None:
            return None
        scale = self.run.scale if self.run.scale is not None else self.q.shape[3] ** -0.5
        given = problem.groups[0].attend.scale
        factor = scale if given is None else float(value_of(given) or 0.0)
        return probed(found, step, self.q, self.k, factor, self.sets, amount)

    def _by_query(self) -> bool:
        """Is every choice one query's?"""
        own = range(self.step.by_head, self.step.by_head + len(self.lengths[0]))
        alone = self.step.rows is None and not isinstance(self.step.rule.amount, SizeOf)
        return alone and {*own} <= {*self.step.rule.per}

    def _bounded(self) -> bool:
        """Are lists of its members smaller than the table, for a backend that reads them?"""
        rule = self.step.rule
        if rule.kind != "top" or isinstance(rule.amount, SizeOf) or self.step.ties is Ties.ALL:
            return False
        alone = {*range(self.step.by_head + len(self.lengths[0]))} <= {*rule.per}
        small = 4 * int(self.bound.number(rule.amount)) <= math.prod(self.lengths[1])
        return alone and small and ONE not in self.step.dims and self.run.reads_lists

    def _listed(self, members: torch.Tensor) -> torch.Tensor:
        """Without asking a GPU how many there are, where the rule says."""
        amount = self.step.rule.amount
        waits = members.device.type != "cpu"
        if not waits or self.step.force is not None or isinstance(amount, SizeOf):
            return listed(members)
        most = min(int(self.bound.number(amount)), members.shape[-1])
        return listed_within(members, most)

    def _part(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The choices of some queries, bool ``[B, Hs, R, members]``, and their weights."""
        step = self.step
        at = torch.arange(start, stop, device=self.q.device)
        scores, allowed = self._scores(at)
        choices, amount = self._choices(scores, stop - start), self._amount()
        rows, candidates = (choices.rows(x.expand(scores.shape)) for x in (scores, allowed))
        always = None
        if step.force is not None:
            forced = _pairs(self.run, step.force, self.rows, self.runs, self.q.shape[1], at)
            forced = by_set(forced, self.sets).any(2)
            always = choices.rows(forced.expand(scores.shape))
        if step.normalise is Normalise.MINMAX:
            rows = minmaxed(rows, candidates if always is None else candidates | always)
        with torch.no_grad():
            picked = pick(
                rows, candidates, always, step.rule.kind, amount,
                search=step.search, ties=step.ties is Ties.ALL,
            )  # fmt: skip
        members = choices.table(picked).reshape(scores.shape)
        if not self.weighed:
            return members, None
        given = choices.table(member_weights(rows, candidates, picked, step))
        return members, given.reshape(scores.shape)

    def _choices(self, scores: torch.Tensor, rows: int) -> Choices:
        """How the choices lie in scores ``[B, Hs, R, members]``."""
        q_lengths, k_lengths = self.lengths
        lead, by_head = scores.shape[: 1 + self.step.by_head], self.step.by_head
        if rows == math.prod(q_lengths):
            return Choices((*lead, *q_lengths, *k_lengths), self.step.rule.per)
        own = by_head + len(q_lengths)  # the axes of the queries are one
        keys = (p - len(q_lengths) + 1 for p in self.step.rule.per if p >= own)
        heads = (p for p in self.step.rule.per if p < by_head)
        return Choices((*lead, rows, *k_lengths), (*heads, int(by_head), *keys))

    def _amount(self) -> float | torch.Tensor:
        size = self.step.rule.amount
        if not isinstance(size, SizeOf):
            return float(self.bound.number(size))
        earlier = self.run.sets[size.name]
        if ONE in self.step.dims:
            earlier = earlier.unsqueeze(1 + self.step.dims.index(ONE))
        choices = Choices(tuple(earlier.shape), self.step.rule.per)
        return choices.counts(earlier, largest=size.largest)

    def _scores(self, at: torch.Tensor) -> Scores:
        """Of runs; ``[B, Hs, queries at, R]``."""
        if self._nothing_scored():
            # What is forced is chosen all the same.
            shape = (len(self.q), self.sets, len(at), math.prod(self.lengths[1]))
            allowed = self.q.new_zeros(shape, dtype=torch.bool)
            return allowed.to(accumulation_dtype(self.q.dtype)), allowed
        step, run = self.step, self.run
        if step.rows is not None:
            at = torch.arange(math.prod(self.bound.lengths(self.query)), device=at.device)
        scores, allowed = self._scored(at)
        if step.gather is not None:
            belongs, weight = _belonging(run, step.gather, self.runs, self.key)
            scores, allowed = gathered(scores, allowed, belongs, weight, step.gather.rule)
        if step.rows is not None:
            belongs, weight = (x.T for x in _belonging(run, step.rows, self.query, self.rows))
            turned = gathered(scores.mT, allowed.mT, belongs, weight, step.rows.rule)
            scores, allowed = (x.mT for x in turned)
        return scores, allowed

    def _nothing_scored(self) -> bool:
        return 0 in (*self.bound.lengths(self.key), *self.bound.lengths(self.query))

    def _scored(self, at: torch.Tensor) -> Scores:
        """``[B, heads of the set, queries at, keys]``."""
        step, run, q = self.step, self.run, self.q
        heads, problem = q.shape[1], self._problem()
        inputs = run.inputs_of(step.pattern, self.query, {"keys": self.key}, 0, heads)
        at = at + _grid(run, self.query).start

        def scored(some: torch.Tensor) -> Scores:
            made = candidate_scores(problem, q, self.k, inputs, run.scale, some, at)
            scores, allowed = (x[..., _grid(run, self.key)] for x in made)
            return scores, allowed

        return set_scores(scored, heads, self.sets, step.normalise, step.share, q.device)

    def _problem(self) -> Problem:
        """Of every query and key that may be scored."""
        q, keys = self.q, {"keys": self.key}
        heads = q.shape[1], self.k.shape[1]
        return self.bound.bound(self.step.pattern, self.query, keys, *heads, q.shape[3])


def _belonging(
    run: Runner, gather: Gather, query: Space, key: Space
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which keys belong to which queries, and with what weight ``[queries, keys]``."""
    problem = run.bound.bound(gather.pattern, query, {"keys": key}, 1, 1, 1)
    every = torch.arange(math.prod(run.bound.lengths(query)), device=run.values["q"].x.device)
    belongs = _pairs(run, gather.pattern, query, key, 1, every)
    weight = weights(problem, belongs.device)[:, :, _grid(run, query), _grid(run, key)]
    return belongs[0, 0], weight[0, 0]


def _pairs(
    run: Runner, pattern: PatternIR, query: Space, key: Space, heads: int, at: torch.Tensor
) -> torch.Tensor:
    """Where a condition holds: bool ``[B or 1, heads, queries at, keys]``."""
    problem = run.bound.bound(pattern, query, {"keys": key}, heads, heads, 1)
    inputs = run.inputs_of(pattern, query, {"keys": key}, 0, heads)
    rows = at + _grid(run, query).start
    return mask(problem, inputs, at.device, rows)[..., _grid(run, key)]


def _grid(run: Runner, space: Space) -> slice:
    """The tokens on its axes, without those of prefixes and suffixes."""
    grid = grid_of(run.bound.extents(space))
    return slice(grid.start, grid.stop)
