"""Rows without keys: a rule is demanded where a run-time tensor could empty a row."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import Attend, PatternIR
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.values import substitute_values
from attnlang.compiler.sema.levels import Level, varies_with
from attnlang.compiler.sema.scope import Context
from attnlang.compiler.sema.segments import specialise


def check_empty_rule(pattern: PatternIR, attend: Attend, ctx: Context) -> None:
    """AL307 when the predicate reads run-time tensors, has no rule and may empty a row."""
    inputs = frozenset(i.name for i in pattern.inputs)
    runtime = bool(varies_with(attend.where, inputs) & Level.RUNTIME)
    if runtime and attend.empty is None and not attends_itself(pattern, attend.where):
        ctx.error(
            "AL307",
            attend.span,
            "may leave a query without any key",
            help="add `empty zero` (output 0), `empty self` or `empty full` after the condition",
        )


def attends_itself(pattern: PatternIR, where: Expr) -> bool:
    """Is every query proved to attend its own position? (Self-attention of equal lengths only.)"""
    if not pattern.self_attention:
        return False
    where = substitute_values(where, pattern)
    for segment in pattern.segments_of(Side.Q):
        own = specialise(where, segment, segment)
        if Side.K not in segment.sides or simplify(rewrite(own, key_is_query)) != e.TRUE:
            return False
    return True


def key_is_query(x: Expr) -> Expr | None:
    """A rule for ``rewrite``: what is read of the key read of the query."""
    match x:
        case e.Coord(side=Side.K, axis=axis):
            return e.Coord(Side.Q, axis)
        case e.Index(side=Side.K):
            return e.Index(Side.Q)
        case e.TokenInput(side=Side.K, name=name, kind=kind):
            return e.TokenInput(Side.Q, name, kind)
        case e.Length(side=Side.K, axis=axis):
            return e.Length(Side.Q, axis)
        case _:
            return None
