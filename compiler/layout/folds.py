"""Folds: equalities that split an axis into independent problems.

When every clause demands ``q.a // w == k.a // w`` (blocks), ``q.a % m == k.a % m`` (residues) or
``q.a == k.a``, pairs meet only inside a class. Cutting the axis by classes turns windows, grids,
dilation and axial attention into batches of small dense problems.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from attnlang.compiler.analysis.normal import Clause
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.linear import linear
from attnlang.compiler.layout.tiling import AxisTiling, IntArray, blocks, contiguous, residues


@dataclass(frozen=True, slots=True)
class Whole:
    """No fold: the axis is one problem."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Classes ``(x - offset) // size``."""

    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class Residues:
    """Classes ``x % modulus``."""

    modulus: int


@dataclass(frozen=True, slots=True)
class Points:
    """Every position is a class of its own."""


Fold: TypeAlias = Whole | Blocks | Residues | Points


def find_fold(axis: str, clauses: Iterable[Clause]) -> Fold:
    """The finest fold of one axis that every clause implies."""
    common: set[Fold] | None = None
    for clause in clauses:
        found = {fold for literal in clause if (fold := _fold_of(literal, axis)) is not None}
        common = found if common is None else common & found
    if not common:
        return Whole()
    for kind in (Points, Residues, Blocks):
        fits = [f for f in common if isinstance(f, kind)]
        if fits:
            # The finest: most residues, or the smallest blocks.
            return min(
                fits, key=lambda f: -f.modulus if isinstance(f, Residues) else getattr(f, "size", 0)
            )
    return Whole()


def _fold_of(literal: Expr, axis: str) -> Fold | None:
    """The fold that one literal ``f(q.axis) == f(k.axis)`` states."""
    if not isinstance(literal, e.Compare) or literal.op != "==":
        return None
    match literal:
        case e.Compare(
            left=e.Arith(op="%", left=inner, right=e.Int(value=m)), right=e.Int(value=0)
        ) if m > 1:
            return Residues(m) if _difference(inner, axis, m) else None
        case _:
            pass
    left, right = _class_of(literal.left, axis), _class_of(literal.right, axis)
    if left is None or right is None or {left[0], right[0]} != {Side.Q, Side.K}:
        return None
    return left[1] if left[1:] == right[1:] else None


def _difference(x: Expr, axis: str, modulus: int) -> bool:
    """Is ``x`` the query's coordinate minus the key's, or the reverse, up to whole periods?"""
    form = linear(x)
    ends = {(a.side, c) for a, c in form.terms if isinstance(a, e.Coord) and a.axis == axis}
    return (
        len(form.terms) == 2
        and form.constant % modulus == 0
        and ends in ({(Side.Q, 1), (Side.K, -1)}, {(Side.Q, -1), (Side.K, 1)})
    )


def _class_of(x: Expr, axis: str) -> tuple[Side, Fold, int] | None:
    """Whose class ``x`` is, of which fold, and the number that is counted on top of it."""
    match x:
        case e.Coord(axis=name, side=side) if name == axis:
            return side, Points(), 0
        case e.Arith(op="%", left=e.Coord(axis=name, side=side), right=e.Int(value=m)) if (
            name == axis and m > 1
        ):
            return side, Residues(m), 0
        case e.Arith(op="//", left=inner, right=e.Int(value=w)) if w > 1:
            form = linear(inner)
            if len(form.terms) == 1 and form.terms[0][1] == 1:
                coordinate = form.atoms[0]
                if isinstance(coordinate, e.Coord) and coordinate.axis == axis:
                    return coordinate.side, Blocks(w, -form.constant % w), form.constant // w
            return None
        case _:
            return None


def cut(fold: Fold, length: int, size: int) -> AxisTiling:
    """Strips of at most ``size`` positions, none across two classes."""
    match fold:
        case Whole():
            return contiguous(length, size)
        case Blocks():
            return blocks(length, fold.size, fold.offset, size)
        case Residues():
            return residues(length, fold.modulus, size)
        case Points():
            return contiguous(length, 1)


def class_size(fold: Fold, length: int) -> int:
    """Positions of the largest class."""
    match fold:
        case Whole():
            return length
        case Blocks():
            return min(fold.size, length)
        case Residues():
            return -(-length // fold.modulus)
        case Points():
            return 1


def members(fold: Fold, length: int) -> IntArray:
    """Positions of every class ``[classes, members]``; -1 where a class is shorter."""
    return cut(fold, length, max(class_size(fold, length), 1)).positions


def step_of(fold: Fold) -> int:
    """Distance between neighbouring positions of a class."""
    return fold.modulus if isinstance(fold, Residues) else 1
