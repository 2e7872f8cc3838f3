"""What can be said of a set before it is chosen: which members it may have, and which it has.

A set is a table of truth values that a step reads. Put in its place, the condition of the
candidates gives every pair that may attend, and ``force`` every pair that surely does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import FALSE, TRUE, Expr, Side, SymbolName
from attnlang.compiler.ir.program import Select
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import HEAD_DIMS, BoundStep


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection as those see it who read its set.

    may: what every member satisfies, over the places of queries and of what is chosen. must: what
    makes a member for sure. q, k: these places.
    """

    select: Select
    may: Expr
    must: Expr
    q: Extent
    k: Extent

    @property
    def by_head(self) -> bool:
        return self.select.dims[0] in HEAD_DIMS

    @property
    def by_query(self) -> bool:
        """Is one choice made for every query (and head)?"""
        heads = self.select.dims[:1] if self.by_head else ()
        return set(self.select.rule.per) == {*heads, *self.q.axes}

    def indices(self, read: e.Table) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
        """Which query's set is read, and which of its members."""
        own = read.indices[self.by_head :]
        return own[: len(self.q.axes)], own[len(self.q.axes) :]

    def put(self, read: e.Table, of: Expr) -> Expr:
        """A condition over the set's places at the entry that is read."""
        names = [*((Side.Q, a) for a in self.q.axes), *((Side.K, a) for a in self.k.axes)]
        queries, members = self.indices(read)
        at = dict(zip(names, (*queries, *members), strict=True))

        def rule(x: Expr) -> Expr | None:
            return at.get((x.side, x.axis)) if isinstance(x, e.Coord) else None

        return rewrite(of, rule)


Sets = Mapping[str, Chosen]


def chosen_by(select: Select, step: BoundStep, made: BoundProgram, earlier: Sets) -> Chosen:
    """earlier: the sets that its own condition may read."""
    axes = select.dims[select.dims[0] in HEAD_DIMS :]
    names = axes[len(step.query.axes) :]
    side = next(iter(step.keys.values())).side
    (q,), (k,) = (
        made.extents(Space(a, s)) for a, s in ((step.query.axes, step.query.side), (names, side))
    )
    force = FALSE if select.force is None else made.close(select.force)
    may: Expr = TRUE
    if select.gather is None and step.problem is not None:
        may = possible(e.Or(tuple(g.attend.where for g in step.problem.groups)), earlier)
    whole = e.Or((may, force))
    return Chosen(
        select,
        simplify(whole) if _by_place(whole) else TRUE,
        force if _by_place(force) else FALSE,
        q,
        k,
    )


def _by_place(x: Expr) -> bool:
    """Does it depend on places along the axes alone?"""
    heads = (SymbolName.HEAD, SymbolName.KV_HEAD)
    return not any(
        isinstance(n, e.TokenInput | e.Table | e.InSegment | e.Index)
        or (isinstance(n, e.Symbol) and n.name in heads)
        for n in walk(x)
    )


def possible(where: Expr, sets: Sets) -> Expr:
    """What every attending pair satisfies, whatever is chosen."""
    return simplify(_bounded(where, sets, True))


def certain(where: Expr, sets: Sets) -> Expr:
    """What only attending pairs satisfy, whatever is chosen."""
    return simplify(_bounded(where, sets, False))


def _bounded(x: Expr, sets: Sets, upper: bool) -> Expr:
    match x:
        case e.And(operands=operands) | e.Or(operands=operands):
            return replace(x, operands=tuple(_bounded(o, sets, upper) for o in operands))
        case e.Not(operand=operand):
            return e.Not(_bounded(operand, sets, not upper), span=x.span)
        case e.Table(name=name) if name in sets:
            found = sets[name]
            # Outside the set nothing is read: what may be is not less for it, what must be is.
            return found.put(x, found.may) if upper else _inside(x, found)
        case _ if reads_sets(x, sets):
            return e.Bool(upper)
        case _:
            return x


def _inside(read: e.Table, found: Chosen) -> Expr:
    queries, members = found.indices(read)
    places = zip((*queries, *members), (*found.q.lengths, *found.k.lengths), strict=True)
    inside = [
        c for i, n in places for c in (e.Compare("<=", e.Int(0), i), e.Compare("<", i, e.Int(n)))
    ]
    return FALSE if found.must == FALSE else e.And((found.put(read, found.must), *inside))


def reads_sets(x: Expr, sets: Sets) -> bool:
    return any(isinstance(n, e.Table) and n.name in sets for n in walk(x))
