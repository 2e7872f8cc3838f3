"""Run-time values as the analysis sees them: known arrays, or nothing yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.syntax.limits import MAX_INTEGER

Array = NDArray[Any]


@dataclass(frozen=True)
class Known:
    """What is known of token inputs and tables for one batch element.

    tokens: ``[tokens of the side's grid]`` by name and side. tables: whole tables by name, run
    time and parameter tables alike. Inputs that vary by head are never here: not analysed.
    sorted: names of token inputs that never decrease along the sequence.
    """

    tokens: Mapping[tuple[str, Side], Array] = field(default_factory=dict)
    tables: Mapping[str, Array] = field(default_factory=dict)
    sorted: frozenset[str] = frozenset()

    def covers(self, x: Expr) -> bool:
        """Can ``x`` be evaluated: is every tensor it reads known?"""
        return all(
            node.name in self.tables
            if isinstance(node, e.Table)
            else (node.name, node.side) in self.tokens
            for node in tensors(x)
        )


@remembered
def tensors(x: Expr) -> tuple[e.TokenInput | e.Table, ...]:
    """Where an expression reads tensors."""
    return tuple(node for node in walk(x) if isinstance(node, e.TokenInput | e.Table))


def settled(where: Expr, known: Known) -> Expr:
    """The predicate with numbers for entries at fixed indices, and for token inputs alike at every
    token.

    So a length that comes with the call is solved for like one in the text, and a mask that hides
    nothing is gone.
    """

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.TokenInput(side=side, name=name) if (name, side) in known.tokens:
                values = known.tokens[name, side]
            case e.Table(name=name, indices=indices) if name in known.tables and all(
                isinstance(i, e.Int) for i in indices
            ):
                at = [np.asarray(i.value) for i in indices if isinstance(i, e.Int)]
                values = np.atleast_1d(read_table(known.tables[name], at))
            case _:
                return None
        alike = values.size > 0 and bool((values == values[0]).all())  # NaN is like nothing
        return _literal(values[0].item(), x) if alike else None

    return simplify(rewrite(where, rule) if tensors(where) else where)


def _literal(value: int | float | bool, x: Expr) -> Expr:
    match value:
        case bool():
            return e.Bool(value, span=x.span)
        case int():
            return e.Int(value, span=x.span)
        case float():
            return e.Float(value, span=x.span)


def in_range(values: Array) -> bool:
    """Are a tensor's integers those that binding took them to be? (It proves from there.)"""
    return bool(values.min() >= -MAX_INTEGER and values.max() <= MAX_INTEGER)


def parameter_tables(problem: Problem) -> dict[str, Array]:
    """Tables that are parameters: one value per head."""
    tables: dict[str, Array] = {}
    for name, value in problem.pattern.values:
        if isinstance(value, tuple):
            entries = value * problem.heads if len(value) == 1 else value
            tables[name] = np.asarray(entries)
    return tables


def read_table(table: Array, indices: list[Array]) -> Array:
    """Entries of a table, 0 outside it."""
    if 0 in table.shape:
        return np.zeros((), table.dtype)
    inside: Any = True
    places = []
    for index, size in zip(indices, table.shape, strict=True):
        index = np.asarray(index)
        if index.size and (index.min() < 0 or index.max() >= size):
            inside = inside & (index >= 0) & (index < size)
            index = np.minimum(np.maximum(index, 0), size - 1)
        places.append(index)
    found = table[tuple(places)]
    return found if inside is True else np.where(inside, found, np.zeros((), table.dtype))
