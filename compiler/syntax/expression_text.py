"""Expressions -> canonical text: the fewest parentheses, and a place to break each long line."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import assert_never

from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.layout import (
    SOFT,
    WIDTH,
    Broken,
    Doc,
    Group,
    Line,
    Nest,
    bracketed,
    joined,
    one_line,
)
from attnlang.compiler.syntax.limits import MAX_BRACKETS

# How tightly an expression binds, by the grammar's levels.
_CHOICE, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _POSTFIX, _ATOM = range(10)
_LEVEL_OF = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "//": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT}


def format_expression(node: t.Expression) -> str:
    """The expression on one line."""
    return one_line(_doc(node, top=True))


def name_text(node: t.Name) -> str:
    """A name, and which copy of it: ``near@0``, ``near@(level - 1)``."""
    if node.copy is None:
        return node.id
    text = format_expression(node.copy)
    return f"{node.id}@{text}" if text.isalnum() or text.isidentifier() else f"{node.id}@({text})"


def statement_value(node: t.Expression) -> Doc:
    """An expression at the end of a statement: parentheses appear where it must break."""
    body = _doc(node, top=True)
    if isinstance(node, t.Call | t.Subscript | t.Tuple):
        return Group(body)  # these break inside their own brackets
    flat = format_expression(node)
    if len(flat) > WIDTH // 2 and _bracket_depth(flat) >= MAX_BRACKETS:
        return flat  # there is no room for another pair
    return Group((Broken("("), Nest((SOFT, body)), SOFT, Broken(")")))


def bracket_item(node: t.Expression) -> Doc:
    """An expression inside brackets that are already there."""
    return Group(_doc(node, top=False))


def _bracket_depth(text: str) -> int:
    return max(accumulate((ch in "([") - (ch in ")]") for ch in text), default=0)


def _level(node: t.Expression) -> int:
    match node:
        case t.Conditional():
            return _CHOICE
        case t.Boolean():
            return _OR if node.op == "or" else _AND
        case t.Not():
            return _NOT
        case t.Compare() | t.Member():
            return _COMPARE
        case t.Binary():
            return _LEVEL_OF[node.op]
        case t.Negative():
            return _UNARY
        case t.Number():
            return _UNARY if math.copysign(1.0, node.value) < 0 else _ATOM
        case t.Attribute() | t.Subscript() | t.Call():
            return _POSTFIX
        case t.Name() | t.Tuple():
            return _ATOM
        case _:
            assert_never(node)


def _operand(node: t.Expression, level: int) -> Doc:
    """A part of a larger expression, in parentheses if it binds less tightly than ``level``."""
    if _level(node) >= level:
        return Group(_doc(node, top=False))
    return Group(("(", Nest((SOFT, _doc(node, top=True))), SOFT, ")"))


def _doc(node: t.Expression, *, top: bool) -> Doc:
    """``top``: brackets stand directly around it, so its lines need no indentation of their own."""
    match node:
        case t.Number():
            return repr(node.value)
        case t.Name():
            return name_text(node)
        case t.Attribute():
            return (_base(node.base), ".", name_text(node.name))
        case t.Subscript():
            return (_base(node.base), bracketed("[", map(bracket_item, node.indices), "]"))
        case t.Call():
            keywords = [(k.name.id, "=", bracket_item(k.value)) for k in node.keywords]
            return (
                node.function.id,
                bracketed("(", [*map(bracket_item, node.arguments), *keywords], ")"),
            )
        case t.Tuple():
            return bracketed("(", map(bracket_item, node.items), ")")
        case t.Negative():
            return ("-", _operand(node.operand, _UNARY))
        case t.Not():
            return ("not ", _operand(node.operand, _NOT))
        case t.Member():
            return (_operand(node.element, _SUM), " in ", name_text(node.collection))
        case t.Boolean():
            level = _level(node) + 1
            return _chain(
                [_operand(o, level) for o in node.operands],
                [node.op] * (len(node.operands) - 1),
                top,
            )
        case t.Compare():
            return _chain([_operand(o, _SUM) for o in node.operands], list(node.ops), top)
        case t.Binary():
            return _arithmetic(node, top)
        case t.Conditional():
            return _choices(node, top)
        case _:
            assert_never(node)


def _base(node: t.Expression) -> Doc:
    # A number needs its parentheses here: `1.x` would read as a float.
    return _operand(node, _ATOM + 1 if isinstance(node, t.Number) else _POSTFIX)


def _chain(operands: list[Doc], operators: list[str], top: bool) -> Doc:
    """Operands on one line, or one a line with its operator in front."""
    rest: Doc = tuple((Line(), op, " ", x) for op, x in zip(operators, operands[1:], strict=True))
    return (operands[0], rest if top else Nest(rest))


def _arithmetic(node: t.Binary, top: bool) -> Doc:
    level = _level(node)
    operands: list[Doc] = []
    operators: list[str] = []
    left: t.Expression = node
    while isinstance(left, t.Binary) and _level(left) == level:
        operands.append(_operand(left.right, level + 1))
        operators.append(left.op)
        left = left.left
    operands.append(_operand(left, level))
    return _chain(operands[::-1], operators[::-1], top)


def _choices(node: t.Conditional, top: bool) -> Doc:
    """``a if c else b if d else e``: broken before each ``else`` first."""
    branches: list[Doc] = []
    rest: t.Expression = node
    while isinstance(rest, t.Conditional):
        then, condition = _operand(rest.then, _OR), _operand(rest.condition, _OR)
        branches.append(Group((then, Nest((Line(), "if ", condition)))))
        rest = rest.otherwise
    branches.append(_operand(rest, _CHOICE))
    body = joined(branches, (Line(), "else "))
    return body if top else Nest(body)
