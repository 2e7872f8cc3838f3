"""Tokens before and after the grid: an expression read for one pair of segments.

A token of a prefix has no grid coordinates. So the predicate is specialised for every pair of
segments: ``q in cls`` becomes true or false, constants fold, and whatever still reads a
coordinate the token does not have is a mistake in the pattern (AL306), not a run-time surprise.
"""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import Segment
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite, walk


def specialise(root: Expr, q: Segment, k: Segment) -> Expr:
    """The expression for a query of segment ``q`` and a key of segment ``k``."""

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.InSegment(side=side, segment=name):
                return e.Bool(name == (q if side is Side.Q else k).name, span=x.span)
            case _:
                return None

    return simplify(rewrite(root, rule) if _asks_segments(root) else root)


@remembered
def _asks_segments(root: Expr) -> bool:
    return any(isinstance(x, e.InSegment) for x in walk(root))


def undefined_leaves(
    root: Expr, q: Segment, k: Segment, extras: frozenset[str]
) -> list[tuple[Expr, Segment]]:
    """Coordinates and token inputs that the tokens of these segments do not have.

    ``extras``: the names of all prefixes and suffixes, whose tokens have the one coordinate
    of that name (``q.cls``); every other coordinate, and every input, belongs to the grid.
    """
    found: list[tuple[Expr, Segment]] = []
    for node in walk(root):
        match node:
            case e.Coord(side=side, axis=axis):
                segment = q if side is Side.Q else k
                home = axis if axis in extras else e.GRID
                if home != segment.name:
                    found.append((node, segment))
            case e.TokenInput(side=side):
                segment = q if side is Side.Q else k
                if not segment.is_grid:
                    found.append((node, segment))
            case _:
                pass
    return found
