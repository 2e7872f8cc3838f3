"""Queries and keys exchanged: the transposed question, which the backward pass of k and v asks."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.traverse import rewrite


def other(side: Side) -> Side:
    return Side.K if side is Side.Q else Side.Q


def swapped(predicate: Expr) -> Expr:
    """The predicate with the two tokens in each other's place."""

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Coord() | e.Index() | e.TokenInput() | e.InSegment() | e.Length():
                return replace(x, side=other(x.side))
            case _:
                return None

    return rewrite(predicate, rule)


def swapped_known(known: Known) -> Known:
    """The run-time tensors of the swapped problem."""
    tokens = {(name, other(side)): values for (name, side), values in known.tokens.items()}
    return Known(tokens, known.tables, known.sorted)
