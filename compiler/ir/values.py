"""Putting the parameters' values into an expression."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TypeAlias

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.pattern import HeadGroup, PatternIR, Requirement, Scalar
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import rewrite


def literal(value: Scalar, kind: Kind) -> Expr:
    """A number or truth value as an expression of ``kind``."""
    match kind:
        case Kind.BOOL:
            return e.Bool(bool(value))
        case Kind.INT:
            return e.Int(int(value))
        case Kind.FLOAT:
            return e.Float(float(value))


_Closed: TypeAlias = tuple[tuple[HeadGroup, ...], tuple[Requirement, ...]]
_closed: weakref.WeakKeyDictionary[PatternIR, _Closed] = weakref.WeakKeyDictionary()


def closed_groups(pattern: PatternIR) -> tuple[HeadGroup, ...]:
    """The pattern's head groups with parameter values put in, worked out once a pattern."""
    return _close(pattern)[0]


def closed_requirements(pattern: PatternIR) -> tuple[Requirement, ...]:
    """The pattern's requirements with parameter values put in, worked out once a pattern."""
    return _close(pattern)[1]


def _close(pattern: PatternIR) -> _Closed:
    made = _closed.get(pattern)
    if made is None:
        groups = tuple(_closed_group(g, pattern) for g in pattern.groups)
        requirements = tuple(
            replace(r, condition=substitute_values(r.condition, pattern))
            for r in pattern.requirements
        )
        made = _closed[pattern] = groups, requirements
    return made


def _closed_group(group: HeadGroup, pattern: PatternIR) -> HeadGroup:
    def put(x: Expr | None) -> Expr | None:
        return None if x is None else substitute_values(x, pattern)

    old = group.attend
    where = substitute_values(old.where, pattern)
    attend = replace(
        old,
        where=where,
        score=put(old.score),
        scale=put(old.scale),
        sink=put(old.sink),
        gain=put(old.gain),
    )
    start, stop = substitute_values(group.start, pattern), substitute_values(group.stop, pattern)
    return HeadGroup(start, stop, attend)


def substitute_values(root: Expr, pattern: PatternIR) -> Expr:
    """The expression with every parameter that has a value replaced by it, simplified.

    Tables of one value per head stay tables: they are read at the head.
    """
    values = dict(pattern.values)

    def rule(x: Expr) -> Expr | None:
        if not isinstance(x, e.Param) or x.name not in values:
            return None
        value = values[x.name]
        if isinstance(value, tuple):
            value = value[pattern.q_axes.index(x.axis)] if x.axis in pattern.q_axes else value[0]
        return None if isinstance(value, str) else literal(value, x.kind)

    return simplify(rewrite(root, rule))


def read_entries(root: Expr, pattern: PatternIR, heads: int) -> Expr:
    """The expression with entries of per-head tables at literal indices put in, simplified.

    A table of one value has it for every head; outside the heads an entry is 0.
    """
    tables = {n: v for n, v in pattern.values if isinstance(v, tuple)}
    if not tables:
        return simplify(root)

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Table(name=name, kind=kind, indices=(e.Int(value=i),)) if name in tables:
                entries = tables[name] * heads if len(tables[name]) == 1 else tables[name]
                return literal(entries[i] if 0 <= i < len(entries) else 0, kind)
            case _:
                return None

    done = simplify(rewrite(root, rule))
    # An index folds to a literal only once what it is made of is one.
    return done if done is root else read_entries(done, pattern, heads)
