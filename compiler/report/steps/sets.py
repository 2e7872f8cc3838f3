"""What can be said of a set before it is chosen: which members it may have, and which it has.

A set is a table of truth values that a step reads. Put in its place, the condition of the
candidates gives every pair that may attend, and ``force`` every pair that surely does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import FALSE, TRUE, Expr, Side, SymbolName
from attnlang.compiler.ir.program import Select
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.ir.vector import ONE, Space
from attnlang.compiler.problem.problem import Extent, Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection as those see it who read its set.

    may: what every member satisfies, over the places of queries and of what is chosen. must: what
    makes a member for sure. q, k: these places. exact: are the candidates and what is forced just
    what ``may`` says?
    """

    select: Select
    may: Expr
    must: Expr
    q: Extent
    k: Extent
    exact: bool

    @property
    def by_query(self) -> bool:
        """Is one choice made for every query (and head)?"""
        return {*self.select.rule.per} >= {*range(self.select.by_head + len(self.q.axes))}

    def indices(self, read: e.Table) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """Which query's set is read, and which of its members."""
        own = read.indices[self.select.by_head :]
        queries = len(_named(self.q))
        return own[:queries], own[queries:]

    def put(self, read: e.Table, of: Expr) -> Expr:
        """A condition over the set's places at the entry that is read."""
        names = [(side, a) for side, x in self._sides for a in _named(x)]
        at = dict(zip(names, itertools.chain(*self.indices(read)), strict=True))

        def rule(x: Expr) -> Expr | None:
            if not isinstance(x, e.Coord):
                return None
            return e.Int(0) if x.axis == ONE else at.get((x.side, x.axis))

        return rewrite(of, rule)

    @property
    def _sides(self) -> tuple[tuple[Side, Extent], ...]:
        return (Side.Q, self.q), (Side.K, self.k)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the dimensions that an entry is read by, but the heads."""
        return tuple(_named(self.q).values()) + tuple(_named(self.k).values())


def _named(extent: Extent) -> dict[str, int]:
    """Its axes with their lengths; the one token that stands for others has none."""
    return {a: n for a, n in zip(extent.axes, extent.lengths, strict=True) if a != ONE}


Sets = Mapping[str, Chosen]


def chosen_by(select: Select, step: BoundStep, made: BoundProgram, earlier: Sets) -> Chosen:
    """earlier: the sets that its own condition may read."""
    own = select.dims[select.by_head :]
    count = len(step.query.axes)
    query, key = step.query, next(iter(step.keys.values()))
    rows = query if select.rows is None else Space(own[:count], query.side, False, query.heads)
    runs = key if own[count:] == key.axes else Space(own[count:], key.side, False, key.heads)
    (q,), (k,) = (_grid(made.extents(x)) for x in (rows, runs))
    force: Expr = FALSE
    if select.force is not None and q.size and k.size:
        force = _where(made.bound(select.force, rows, {"keys": runs}, step.heads, step.heads, 1))
    may: Expr = TRUE
    exact = select.gather is None and select.rows is None and step.problem is not None
    if exact and step.problem is not None:
        where = _where(step.problem)
        may, exact = possible(where, earlier), not reads_sets(where, earlier)
    whole = e.Or((may, force))
    return Chosen(
        select,
        simplify(whole) if by_place(whole) else TRUE,
        force if by_place(force) else FALSE,
        q,
        k,
        exact and by_place(whole),
    )


def _grid(extents: tuple[Extent, ...]) -> tuple[Extent]:
    """What is chosen has places on axes alone."""
    (found,) = (x for x in extents if x.segment.is_grid)
    return (replace(found, start=0),)


def _where(problem: Problem) -> Expr:
    return simplify(e.Or(tuple(g.attend.where for g in problem.groups)))


def by_place(x: Expr) -> bool:
    """Does it depend on places along the axes alone?"""
    heads = (SymbolName.HEAD, SymbolName.KV_HEAD)
    return not any(
        isinstance(n, e.TokenInput | e.Table | e.InSegment | e.Index)
        or (isinstance(n, e.Symbol) and n.name in heads)
        for n in walk(x)
    )


def possible(where: Expr, sets: Sets, known: Known | None = None) -> Expr:
    """What every attending pair satisfies, whatever is chosen. known: then also whatever values
    the other tensors have."""
    return simplify(_bounded(where, sets, known, True))


def certain(where: Expr, sets: Sets, known: Known | None = None) -> Expr:
    """What only attending pairs satisfy, whatever is chosen."""
    return simplify(_bounded(where, sets, known, False))


def with_where(problem: Problem, change: Callable[[Expr], Expr]) -> Problem:
    """The problem with another condition in every group."""
    groups = tuple(
        replace(g, attend=replace(g.attend, where=change(g.attend.where))) for g in problem.groups
    )
    return replace(problem, groups=groups)


def _bounded(x: Expr, sets: Sets, known: Known | None, upper: bool) -> Expr:
    match x:
        case e.And(operands=operands) | e.Or(operands=operands):
            return replace(x, operands=tuple(_bounded(o, sets, known, upper) for o in operands))
        case e.Not(operand=operand):
            return e.Not(_bounded(operand, sets, known, not upper), span=x.span)
        case e.Table(name=name) if name in sets:
            found = sets[name]
            # Outside the set nothing is read: what may be is not less for it, what must be is.
            return found.put(x, found.may) if upper else _inside(x, found)
        case _ if reads_sets(x, sets) or (known is not None and not known.covers(x)):
            return e.Bool(upper)
        case _:
            return x


def _inside(read: e.Table, found: Chosen) -> Expr:
    queries, members = found.indices(read)
    places = zip((*queries, *members), found.lengths, strict=True)
    inside = [
        c for i, n in places for c in (e.Compare("<=", e.Int(0), i), e.Compare("<", i, e.Int(n)))
    ]
    return FALSE if found.must == FALSE else e.And((found.put(read, found.must), *inside))


def reads_sets(x: Expr, sets: Sets) -> bool:
    return any(isinstance(n, e.Table) and n.name in sets for n in walk(x))
