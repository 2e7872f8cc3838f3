"""The two generic traversals, and the kind of an expression."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.builtins import BUILTINS
from attnlang.compiler.ir.expr import Expr, Kind, SymbolName

Rule = Callable[[Expr], Expr | None]


def children(node: Expr) -> tuple[Expr, ...]:
    """The expressions directly below one node."""
    match node:
        case e.Int() | e.Coord():  # first, being the most
            return ()
        case e.Arith() | e.Compare():
            return (node.left, node.right)
        case e.Neg() | e.Not():
            return (node.operand,)
        case e.And() | e.Or():
            return node.operands
        case e.Select():
            return (node.condition, node.then, node.otherwise)
        case e.Apply():
            return node.arguments
        case e.Table():
            return node.indices
        case (
            e.Float() | e.Bool() | e.Param() | e.Length() | e.Index() | e.Symbol()
            | e.TokenInput() | e.InSegment()
        ):  # fmt: skip
            return ()
        case _:
            assert_never(node)


def rebuild(node: Expr, new: tuple[Expr, ...]) -> Expr:
    """The same node over other children (as many as it had)."""
    match node:
        case e.Neg() | e.Not():
            return replace(node, operand=new[0])
        case e.Arith() | e.Compare():
            return replace(node, left=new[0], right=new[1])
        case e.And() | e.Or():
            return replace(node, operands=new)
        case e.Select():
            return replace(node, condition=new[0], then=new[1], otherwise=new[2])
        case e.Apply():
            return replace(node, arguments=new)
        case e.Table():
            return replace(node, indices=new)
        case _:
            return node


def rewrite(node: Expr, rule: Rule) -> Expr:
    """Apply ``rule`` bottom-up. None means unchanged; unchanged sub-trees keep their identity."""
    memo: dict[int, Expr] = {}

    def visit(x: Expr) -> Expr:
        done = memo.get(id(x))
        if done is not None:
            return done
        old = children(x)
        y = x
        if old:
            new = tuple([visit(c) for c in old])
            y = x if all(map(operator.is_, old, new)) else rebuild(x, new)
        changed = rule(y)
        result = y if changed is None else changed
        memo[id(x)] = result
        return result

    return visit(node)


def walk(node: Expr) -> Iterator[Expr]:
    """Every distinct node object of an expression, parents first."""
    seen: set[int] = set()
    stack = [node]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        yield x
        stack.extend(reversed(children(x)))


def kind_of(node: Expr) -> Kind:
    """The kind of value an expression has, worked out when it is first asked for."""
    try:
        return node._kind
    except AttributeError:
        kind = _kind_of(node)
        object.__setattr__(node, "_kind", kind)
        return kind


def _kind_of(node: Expr) -> Kind:
    match node:
        case e.Int() | e.Length() | e.Coord() | e.Index():
            return Kind.INT
        case e.Float():
            return Kind.FLOAT
        case e.Bool() | e.Compare() | e.And() | e.Or() | e.Not() | e.InSegment():
            return Kind.BOOL
        case e.Param() | e.TokenInput() | e.Table():
            return node.kind
        case e.Symbol():
            return Kind.FLOAT if node.name is SymbolName.SCORE else Kind.INT
        case e.Neg():
            return kind_of(node.operand)
        case e.Arith():
            return Kind.FLOAT if node.op == "/" else _join(node.left, node.right)
        case e.Select():
            return _join(node.then, node.otherwise)
        case e.Apply():
            return BUILTINS[node.function].result or _join(*node.arguments)
        case _:
            assert_never(node)


def _join(*nodes: Expr) -> Kind:
    kinds = {kind_of(n) for n in nodes}
    return Kind.FLOAT if Kind.FLOAT in kinds else next(iter(kinds))
