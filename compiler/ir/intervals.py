"""Interval arithmetic over expressions: what a value can be when its leaves lie in ranges.

One set of rules serves Python integers (exact, any size: used when a pattern is bound) and
numpy arrays (one interval for each tile: used to classify tiles). Bounds are sound always,
and exact where each leaf occurs once in a comparison's linear form. A bound that is NaN says
that nothing is known, not even that the value is a number: no comparison is decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind
from attnlang.compiler.ir.linear import Linear, difference, linear
from attnlang.compiler.ir.traverse import children, kind_of

Value: TypeAlias = Any
"""A Python number, or a numpy array of them."""

Range: TypeAlias = tuple[Value, Value]
"""Lowest and highest value (both reached or beyond). For bool: may be false, may be true, as
the pair (lowest, highest) of 0 and 1."""


@dataclass(frozen=True, slots=True)
class Ops:
    """The few operations that differ between Python numbers and arrays.

    minimum and maximum hand NaN on, whichever side it is on. truth: a truth value as 0 and 1.
    some: is any of the truth values true? Asked of divisors, to be sure that none is 0. surely: are
    all known to be true? It may say no for want of looking.
    """

    minimum: Callable[[Value, Value], Value]
    maximum: Callable[[Value, Value], Value]
    where: Callable[[Value, Value, Value], Value]
    function: Callable[[str, Value], Value]
    truth: Callable[[Value], Value]
    some: Callable[[Value], bool]
    surely: Callable[[Value], bool]


class DivisorMayBeZero(Exception):
    """Raised with the divisor's expression."""

    def __init__(self, node: Expr) -> None:
        self.node = node
        super().__init__(node)


@dataclass(slots=True)
class Intervals:
    """Ranges of one expression's parts, given the ranges of its leaves.

    leaf: the range of a Coord, TokenInput, Table, Symbol or other leaf.
    watch: called with each integer part and its range (the binder looks for overflow).
    """

    ops: Ops
    leaf: Callable[[Expr], Range]
    watch: Callable[[Expr, Range], None] | None = None
    _memo: dict[Expr, Range] = field(default_factory=dict)

    def of(self, x: Expr) -> Range:
        found = self._memo.get(x)
        if found is None:
            found = self._compute(x)
            if self.watch is not None and kind_of(x) is Kind.INT:
                self.watch(x, found)
            self._memo[x] = found
        return found

    def _compute(self, x: Expr) -> Range:
        match x:
            case e.Int() | e.Float():
                return x.value, x.value
            case e.Bool():
                return int(x.value), int(x.value)
            case e.Neg():
                lo, hi = self.of(x.operand)
                return -hi, -lo
            case e.Arith():
                return self._arith(x)
            case e.Compare():
                return self._compare(x)
            case e.And() | e.Or():
                join = self.ops.minimum if isinstance(x, e.And) else self.ops.maximum
                lo, hi = self.of(x.operands[0])
                for operand in x.operands[1:]:
                    a, b = self.of(operand)
                    lo, hi = join(lo, a), join(hi, b)
                return lo, hi
            case e.Not():
                lo, hi = self.of(x.operand)
                return 1 - hi, 1 - lo
            case e.Select():
                return self._select(x)
            case e.Apply():
                return self._apply(x)
            case (
                e.Param() | e.Length() | e.Coord() | e.Index() | e.Symbol() | e.TokenInput()
                | e.Table() | e.InSegment()
            ):  # fmt: skip
                for child in children(x):
                    self.of(child)
                return self.leaf(x)
            case _:
                assert_never(x)

    def sum_of(self, form: Linear) -> Range:
        """The range of a linear form, each atom counted once."""
        lo: Value = form.constant
        hi: Value = form.constant
        for atom, c in form.terms:
            a, b = self.of(atom)
            lo, hi = (lo + c * a, hi + c * b) if c > 0 else (lo + c * b, hi + c * a)
        return lo, hi

    def _arith(self, x: e.Arith) -> Range:
        a, b = self.of(x.left)
        c, d = self.of(x.right)
        integers = kind_of(x) is Kind.INT
        match x.op:
            case "+" | "-" if integers:
                return self.sum_of(linear(x))
            # Infinity less infinity, or times 0, is NaN: such corners are looked at too.
            case "+":
                return self._corners([a + c, b + d, a + d, b + c])
            case "-":
                return self._corners([a - d, b - c, a - c, b - d])
            case "*" if not integers:
                zero = self.ops.where((a <= 0) & (b >= 0), 0.0, a)
                other = self.ops.where((c <= 0) & (d >= 0), 0.0, c)
                inner = [zero * c, zero * d, other * a, other * b]
                return self._corners([a * c, a * d, b * c, b * d, *inner])
            case "*" if self.ops.surely((a >= 0) & (c >= 0)):
                return a * c, b * d
            case "*":
                return self._corners([a * c, a * d, b * c, b * d])
            case "/":
                inside = (c <= 0) & (d >= 0)
                c, d = self.ops.where(inside, math.nan, c), self.ops.where(inside, math.nan, d)
                return self._corners([a / c, a / d, b / c, b / d])
            case "//" | "%":
                self._divisor(x, c, d)
                if x.op == "//":
                    return self._corners([a // c, a // d, b // c, b // d])
                return self._modulo(a, b, c, d)
            case _:
                assert_never(x.op)

    def _modulo(self, a: Value, b: Value, c: Value, d: Value) -> Range:
        lo = self.ops.minimum(0, c + 1)
        hi = self.ops.maximum(0, d - 1)
        if isinstance(c, int) and isinstance(d, int) and c == d:
            # One divisor: within one period the remainder is as monotone as the dividend.
            same = a // c == b // c
            return self.ops.where(same, a % c, lo), self.ops.where(same, b % c, hi)
        return lo, hi

    def _divisor(self, x: Expr, c: Value, d: Value) -> None:
        """Raises DivisorMayBeZero."""
        if self.ops.some((c <= 0) & (d >= 0)):
            raise DivisorMayBeZero(x)

    def _corners(self, values: list[Value]) -> Range:
        lo = hi = values[0]
        for v in values[1:]:
            lo, hi = self.ops.minimum(lo, v), self.ops.maximum(hi, v)
        return lo, hi

    def _compare(self, x: e.Compare) -> Range:
        self.of(x.left), self.of(x.right)
        if kind_of(x.left) is Kind.INT and kind_of(x.right) is Kind.INT:
            lo, hi = self.sum_of(difference(x.left, x.right))
        else:
            (a, b), (c, d) = self.of(x.left), self.of(x.right)
            lo, hi = a - d, b - c
            if kind_of(x.left) is Kind.FLOAT:
                # Evaluation rounds, so a float comparison is decided only with room to spare.
                room = 1e-9 * (1 + self.ops.maximum(abs(lo), abs(hi)))
                lo, hi = lo - room, hi + room
        must, may = (self.ops.truth(v) for v in _decide(x.op, lo, hi))
        if kind_of(x.left) is not Kind.FLOAT:
            return must, may
        unknown = (lo != lo) | (hi != hi)
        return self.ops.where(unknown, 0, must), self.ops.where(unknown, 1, may)

    def _select(self, x: e.Select) -> Range:
        must, may = self.of(x.condition)
        (a, b), (c, d) = self.of(x.then), self.of(x.otherwise)
        w, lo, hi = self.ops.where, self.ops.minimum(a, c), self.ops.maximum(b, d)
        lo = w(must > 0, a, w(may > 0, lo, c))
        hi = w(must > 0, b, w(may > 0, hi, d))
        return lo, hi

    def _first(self, x: e.Apply, lo: Value, hi: Value) -> Range:
        """The first of two that min or max choose from: they take the second if it is NaN."""
        if kind_of(x) is not Kind.FLOAT:
            return lo, hi
        unknown = (lo != lo) | (hi != hi)
        return self.ops.where(unknown, -math.inf, lo), self.ops.where(unknown, math.inf, hi)

    def _apply(self, x: e.Apply) -> Range:
        ranges = [self.of(a) for a in x.arguments]
        match x.function:
            case "min" | "max":
                join = self.ops.minimum if x.function == "min" else self.ops.maximum
                lo, hi = ranges[0]
                for a, b in ranges[1:]:
                    lo, hi = self._first(x, lo, hi)
                    lo, hi = join(lo, a), join(hi, b)
                return lo, hi
            case "clamp":
                (a, b), (c, d), (f, g) = ranges
                a, b = self._first(x, a, b)
                least, most = self.ops.minimum, self.ops.maximum
                return most(c, least(a, f)), most(d, least(b, g))
            case "abs":
                a, b = ranges[0]
                return self.ops.maximum(0, self.ops.maximum(a, -b)), self.ops.maximum(
                    abs(a), abs(b)
                )
            case "ceildiv":
                (a, b), (c, d) = ranges
                self._divisor(x, c, d)
                return self._corners([-(-a // c), -(-a // d), -(-b // c), -(-b // d)])
            case name:  # the rest takes one argument and never decreases
                a, b = ranges[0]
                return self.ops.function(name, a), self.ops.function(name, b)


def _decide(op: e.CompareOp, lo: Value, hi: Value) -> tuple[Value, Value]:
    """Must and may ``x op 0`` hold for an x in the range?"""
    match op:
        case "<":
            return hi < 0, lo < 0
        case "<=":
            return hi <= 0, lo <= 0
        case ">":
            return lo > 0, hi > 0
        case ">=":
            return lo >= 0, hi >= 0
        case "==":
            return (lo == 0) & (hi == 0), (lo <= 0) & (hi >= 0)
        case "!=":
            return (lo > 0) | (hi < 0), (lo != 0) | (hi != 0)
        case _:
            assert_never(op)
