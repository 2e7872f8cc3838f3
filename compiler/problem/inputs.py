"""What shape a run-time tensor must have at one problem's sizes."""

from __future__ import annotations

from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import substitute_values
from attnlang.compiler.problem.problem import Problem


def input_shape(decl: InputDecl, side: Side | None, problem: Problem, batch: int) -> list[int]:
    """The declared dimensions as numbers; ``side``: whose tokens it has values for, if any's.

    Raises PatternError (AL406) for a computed dimension that is no size.
    """
    return [_dimension(d, side, decl, problem, batch) for d in decl.dims]


def _dimension(
    dim: str | Expr, side: Side | None, decl: InputDecl, problem: Problem, batch: int
) -> int:
    if dim == "batch":
        return batch
    outer = problem.outer
    if dim == "head":
        # A step's tables are those of its program; of tokens it has its own heads' alone.
        return problem.heads if outer is None or decl.sides else outer.frame.heads
    if isinstance(dim, str):
        sides = (side,) if side is not None else (Side.K, Side.Q)
        return next(n for s in sides for n in _lengths(dim, s, problem))
    known: dict[Expr, int] = (
        dict(outer.known)
        if outer is not None
        else {
            e.Symbol(SymbolName.HEADS): problem.heads,
            e.Symbol(SymbolName.KV_HEADS): problem.kv_heads,
            e.Symbol(SymbolName.HEAD_DIM): problem.head_dim,
        }
    )
    for node in walk(dim):
        if isinstance(node, e.Length):
            known[node] = _lengths(node.axis, node.side, problem)[0]
    size = value_of(substitute_values(dim, problem.pattern), known)
    if size is None or size < 0:
        raise failure("AL406", dim.span, what=f"a dimension of input `{decl.name}`", value=size)
    return int(size)


def _lengths(axis: str, side: Side, problem: Problem) -> list[int]:
    found = [x.lengths[x.axes.index(axis)] for x in problem.extents(side) if axis in x.axes]
    outer = problem.outer
    if found or outer is None or e.Length(side, axis) not in outer.known:
        return found
    return [outer.length(side, axis)]
