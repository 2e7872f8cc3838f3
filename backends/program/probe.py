"""A search by halving that scores only what it asks, where candidates are runs of keys.

Which keys are candidates of a query, which belong to a unit and which queries to a row are solved
from the conditions; nothing is as large as queries times keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attnlang.backends.call import accumulation_dtype
from attnlang.backends.program.rules import Scores, set_scores
from attnlang.backends.program.search import refined
from attnlang.compiler.ir.program import Gather, Normalise, Search, Select
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.report.keys import solved_rows_of
from attnlang.compiler.report.relation import relations
from attnlang.compiler.report.rows import Rows

Tensor = torch.Tensor
Ints = NDArray[np.int64]
PROBE_BYTES = 1 << 25
"""Keys that are gathered at once."""


@dataclass(frozen=True, eq=False)
class Probes:
    """Rows of candidates as intervals.

    first, last: keys of every query. queries: of every row ``[rows, most]``, -1 for padding. units:
    first and last key of every unit. low, count: the units of every row, from ``low`` on.
    """

    first: Ints
    last: Ints
    queries: Ints
    units: tuple[Ints, Ints]
    low: Ints
    count: Ints


def probes(
    step: Select, bound: BoundProgram, problem: Problem, spaces: tuple[Space, Space, Space, Space]
) -> Probes | None:
    """None where a search has to see all scores. spaces: of queries, keys, rows and units."""
    attend = problem.groups[0].attend
    if step.normalise is not Normalise.NONE or step.force is not None or attend.score is not None:
        return None
    if len(problem.q) > 1 or len(problem.k) > 1:
        return None
    if attend.scale is not None and value_of(attend.scale) is None:
        return None
    query, key, rows, runs = spaces
    keys = _solved(problem)
    if keys is None or not _one_run(keys):
        return None
    each = np.arange(problem.k_len)
    units: tuple[Ints, Ints] | None = (each, each)
    if step.gather is not None:
        units = _units(_bound(step.gather, bound, runs, {"keys": key}))
    queries: Ints | None = np.arange(problem.q_len)[:, None]
    if step.rows is not None:
        queries = _members(_bound(step.rows, bound, query, {"keys": rows}))
    if units is None or queries is None:
        return None
    found = _candidates(keys, queries, units)
    return None if found is None else Probes(keys.first, keys.last, queries, units, *found)


def probed(
    made: Probes, step: Select, q: Tensor, k: Tensor, scale: float, sets: int, amount: int
) -> Tensor:
    """The members of every row ``[B, sets, rows, amount]``, int32, in order, then -1."""
    width = int((made.units[1] - made.units[0]).max(initial=0)) + 1
    each = 2 * amount * width * k.shape[3] * accumulation_dtype(q.dtype).itemsize
    size = max(1, PROBE_BYTES // max(len(q) * sets * each, 1))
    rows = range(0, len(made.low), size)
    found = [_part(made, step, q, k, scale, sets, amount, slice(i, i + size)) for i in rows]
    return torch.cat(found, 2)


def _part(
    made: Probes, step: Select, q: Tensor, k: Tensor, scale: float, sets: int, amount: int,
    rows: slice,
) -> Tensor:  # fmt: skip
    """The members of some rows."""

    def there(x: Ints) -> Tensor:
        return torch.from_numpy(x).to(q.device)

    dtype, alike = accumulation_dtype(q.dtype), _alike(made, rows)
    asking, low = there(made.queries[rows]), there(made.low[rows])
    begin, end = map(there, made.units)
    last_unit, width = len(begin) - 1, int((end - begin).max()) + 1
    first, last = (there(x)[asking][:, :, None] for x in (made.first, made.last))
    first = torch.where(asking[:, :, None] < 0, k.shape[2], first)  # none of padding
    batch = torch.arange(len(q), device=q.device).view(-1, 1, 1, 1)
    group, flat = q.shape[1] // k.shape[1], k.flatten(0, 2)

    def probe(at: Tensor) -> Tensor:
        unit = (low[:, None] + at).clamp(max=last_unit)
        keys = begin[unit][..., None] + torch.arange(width, device=q.device)
        inside = (keys <= end[unit][..., None]).flatten(-2)[..., None, :]
        keys = keys.flatten(-2).clamp(max=k.shape[2] - 1)
        asked = keys[..., None, :]
        allowed = inside  # [B, sets, rows, queries, keys]
        if not alike:
            allowed = inside & (first <= asked) & (asked <= last)

        def scored(heads: Tensor) -> Scores:
            own = batch * k.shape[1] + (heads // group).view(1, -1, 1, 1)
            read = flat.index_select(0, (own * k.shape[2] + keys).flatten())
            queries = q[:, heads][:, :, asking].to(dtype)
            return queries @ read.view(*keys.shape, -1).to(dtype).mT * scale, allowed

        found = set_scores(scored, q.shape[1], sets, step.normalise, step.share, q.device)
        scores, seen = (x.unflatten(-1, (-1, width)) for x in found)
        some, seen = _reduced(scores, seen, step.gather)
        return _reduced(some.mT, seen.mT, step.rows)[0]

    count = there(made.count[rows])[:, None].expand(len(q), sets, -1, 1)
    found, chosen = refined(count, amount, probe, centres=step.search is Search.CENTRES)
    places = torch.where(chosen, low[:, None] + found, last_unit + 1).sort(-1).values
    return torch.where(places > last_unit, -1, places).to(torch.int32)


def _alike(made: Probes, rows: slice) -> bool:
    """Are all units of these rows whole candidates of all their queries?"""
    queries, low, count = made.queries[rows], made.low[rows], made.count[rows]
    some = count > 0
    queries, low, high = queries[some], low[some], (low + count - 1)[some]
    starts = (made.first[queries] <= made.units[0][low][:, None]).all()
    return bool((queries >= 0).all() and starts
                and (made.last[queries] >= made.units[1][high][:, None]).all())  # fmt: skip


def _reduced(scores: Tensor, allowed: Tensor, gather: Gather | None) -> Scores:
    """The last dimension, of what belongs to one run, as its score."""
    if gather is None:
        return scores[..., 0], allowed[..., 0]
    some = allowed.any(-1)
    if gather.rule == "max":
        return torch.where(allowed, scores, -torch.inf).amax(-1), some
    total = torch.where(allowed, scores, 0.0).sum(-1)
    return total / allowed.sum(-1).clamp(min=1) if gather.rule == "mean" else total, some


def _bound(
    gather: Gather, bound: BoundProgram, query: Space, keys: Mapping[str, Space]
) -> Problem | None:
    """None where scores have weights."""
    if gather.pattern.groups[0].attend.score is not None:
        return None
    return bound.bound(gather.pattern, query, dict(keys), 1, 1, 1)


def _solved(problem: Problem | None) -> Rows | None:
    """The keys of every query, where they are the same for all heads and inputs."""
    if problem is None or len(problem.q) > 1 or len(problem.k) > 1:
        return None
    alike = relations(problem)
    found = solved_rows_of(alike[0]) if len(alike) == 1 else None
    return found if found is not None and found.exact else None


def _one_run(rows: Rows) -> bool:
    """Are the keys of every query one behind the other?"""
    return bool((rows.keys == np.maximum(rows.last - rows.first + 1, 0)).all())


def _units(problem: Problem | None) -> tuple[Ints, Ints] | None:
    """The first and last key of every unit, where units are runs in order, of about one size."""
    found = _solved(problem)
    if problem is None or found is None or not _one_run(found) or not found.keys.all():
        return None
    ordered = (np.diff(found.first) >= 0).all() and (np.diff(found.last) >= 0).all()
    even = found.keys.max(initial=0) * problem.q_len <= 4 * problem.k_len
    return (found.first, found.last) if ordered and even else None


def _members(problem: Problem | None) -> Ints | None:
    """The queries of every row ``[rows, most]``, where each is of one at most."""
    found = _solved(problem)
    if problem is None or found is None or (found.keys > 1).any():
        return None
    queries = np.flatnonzero(found.keys)
    owner = found.first[queries]
    order = np.argsort(owner, kind="stable")
    queries, owner = queries[order], owner[order]
    counts = np.bincount(owner, minlength=problem.k_len)
    starts = np.cumsum(counts) - counts
    made = np.full((problem.k_len, max(int(counts.max(initial=0)), 1)), -1, dtype=np.int64)
    made[owner, np.arange(len(owner)) - starts[owner]] = queries
    return made


def _candidates(keys: Rows, queries: Ints, units: tuple[Ints, Ints]) -> tuple[Ints, Ints] | None:
    """The units with a key of some query of a row: from which on and how many. None where they are
    not one behind the other."""
    first, last = (np.where(queries < 0, none, x[queries]) for x, none in (
        (keys.first, math.inf), (keys.last, -1.0)
    ))  # fmt: skip
    low = np.searchsorted(units[1], first, "left")
    high = np.searchsorted(units[0], last, "right")
    empty = high <= low
    low, high = np.where(empty, len(units[0]), low), np.where(empty, -1, high)
    order = np.argsort(low, axis=1)
    low, high = (np.take_along_axis(x, order, 1) for x in (low, high))
    reached = np.maximum.accumulate(high, axis=1)
    if ((low[:, 1:] > reached[:, :-1]) & (high[:, 1:] >= 0)).any():
        return None
    start = np.where(reached[:, -1] < 0, 0, low[:, 0])
    return start, np.maximum(reached[:, -1] - start, 0)
