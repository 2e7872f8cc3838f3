"""What expressions can be at any length."""

from __future__ import annotations

import math

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, SymbolName
from attnlang.compiler.ir.intervals import DivisorMayBeZero, Intervals, Range
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.problem.bind import LARGEST, PYTHON


def range_of(x: Expr) -> Range:
    """What an integer or a truth can be at any length."""

    def leaf(n: Expr) -> Range:
        match n:
            case (
                e.Length()
                | e.Symbol(name=SymbolName.HEADS | SymbolName.KV_HEADS | SymbolName.HEAD_DIM)
            ):
                return 1, LARGEST
            case e.Coord() | e.Index() | e.Symbol(name=SymbolName.HEAD | SymbolName.KV_HEAD):
                return 0, LARGEST
            case _ if kind_of(n) is Kind.BOOL:
                return 0, 1
            case _ if kind_of(n) is Kind.INT:
                return -LARGEST, LARGEST  # finite: an infinite quotient would be no number
            case _:
                return -math.inf, math.inf

    try:
        return Intervals(PYTHON, leaf).of(x)
    except DivisorMayBeZero:
        return -math.inf, math.inf
