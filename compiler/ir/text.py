"""IR -> text in the language's own words: for hashes, reports and comments of generated code."""

from __future__ import annotations

import math
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.expression_text import format_expression


def to_text(expr: Expr) -> str:
    """One line that reads back as an expression of the same value. Equal IR gives equal text."""
    return format_expression(to_syntax(expr))


def input_type(decl: InputDecl) -> str:
    """``int[batch, n]``: the type of a run-time tensor, without what else is said of it."""
    dims = ", ".join(d if isinstance(d, str) else to_text(d) for d in decl.dims)
    return f"{decl.kind}[{dims}]" if dims else str(decl.kind)


def to_syntax(x: Expr) -> t.Expression:
    """The syntax tree that means ``x`` in a pattern with the same names."""
    match x:
        case e.Int():
            return t.Number(x.value)
        case e.Float():
            return _float(x.value)
        case e.Bool():
            return _name("true" if x.value else "false")
        case e.Param():
            axis = () if x.axis is None else (_name(x.axis),)
            return t.Subscript(_name(x.name), axis) if axis else _name(x.name)
        case e.Length():
            axis_name = _name(x.axis) if x.side is Side.K else _of(x.side, x.axis)
            return t.Call(_name("len"), (axis_name,), ())
        case e.Coord():
            return _of(x.side, x.axis)
        case e.Index():
            return _of(x.side, "index")
        case e.Symbol():
            return _name(x.name)
        case e.TokenInput():
            return _of(x.side, x.name)
        case e.Table():
            indices = tuple(to_syntax(i) for i in x.indices)
            return t.Subscript(_name(x.name), indices) if indices else _name(x.name)
        case e.InSegment():
            return t.Member(_name(x.side), _name(x.segment))
        case e.Neg():
            return t.Negative(to_syntax(x.operand))
        case e.Not():
            return t.Not(to_syntax(x.operand))
        case e.Arith():
            return t.Binary(x.op, to_syntax(x.left), to_syntax(x.right))
        case e.Compare():
            return t.Compare((to_syntax(x.left), to_syntax(x.right)), (x.op,))
        case e.And():
            return t.Boolean("and", tuple(to_syntax(o) for o in x.operands))
        case e.Or():
            return t.Boolean("or", tuple(to_syntax(o) for o in x.operands))
        case e.Select():
            return t.Conditional(to_syntax(x.condition), to_syntax(x.then), to_syntax(x.otherwise))
        case e.Apply():
            return t.Call(_name(x.function), tuple(to_syntax(a) for a in x.arguments), ())
        case _:
            assert_never(x)


def _float(value: float) -> t.Expression:
    if math.isfinite(value):
        return t.Number(value)
    minus_infinity = t.Call(_name("log"), (t.Number(0.0),), ())
    if math.isnan(value):
        return t.Binary("-", minus_infinity, minus_infinity)
    return minus_infinity if value < 0 else t.Negative(minus_infinity)


def _of(side: Side, name: str) -> t.Attribute:
    return t.Attribute(_name(side), _name(name))


def _name(name: str) -> t.Name:
    return t.Name(str(name))
