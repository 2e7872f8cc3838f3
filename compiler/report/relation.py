"""Which queries see which keys, for the heads that agree on it: what every count is made from."""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.analysis.leaves import Known, parameter_tables
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.problem.heads import head_classes
from attnlang.compiler.problem.problem import Extent, Problem


@dataclass(frozen=True, eq=False)
class Relation:
    """heads: those that attend alike. where: the predicate for them. known: run-time tensors."""

    heads: tuple[int, ...]
    where: Expr
    q: tuple[Extent, ...]
    k: tuple[Extent, ...]
    known: Known

    @property
    def q_len(self) -> int:
        return self.q[-1].stop

    @property
    def k_len(self) -> int:
        return self.k[-1].stop

    @property
    def evaluable(self) -> bool:
        """Is every run-time tensor known that the predicate reads?"""
        return self.known.covers(self.where)

    def transposed(self) -> Relation:
        """The same pairs with queries and keys in each other's place."""
        tokens = {(name, _other(side)): x for (name, side), x in self.known.tokens.items()}
        known = Known(tokens, self.known.tables, self.known.sorted)
        return Relation(self.heads, rewrite(self.where, _swap), self.k, self.q, known)


def relations(problem: Problem, known: Known | None = None) -> tuple[Relation, ...]:
    """The relation of every class of heads, in order of first head."""
    given = known or Known()
    whole = Known(given.tokens, {**given.tables, **parameter_tables(problem)}, given.sorted)
    return tuple(
        Relation(heads, where, problem.q, problem.k, whole)
        for where, heads in head_classes(problem)
    )


def _swap(x: Expr) -> Expr | None:
    match x:
        case e.Coord(side=side, axis=axis):
            return e.Coord(_other(side), axis)
        case e.Index(side=side):
            return e.Index(_other(side))
        case e.TokenInput(side=side, name=name, kind=kind):
            return e.TokenInput(_other(side), name, kind)
        case e.InSegment(side=side, segment=segment):
            return e.InSegment(_other(side), segment)
        case _:
            return None


def _other(side: Side) -> Side:
    return Side.K if side is Side.Q else Side.Q
