"""Clauses that fall apart into one factor per pair of axes: the Kronecker case.

Windows, blocks, grids and their conjunctions constrain each axis by itself. A factor is then a
small table over one query axis and one key axis, evaluated element by element, and a tile is
empty, or full, exactly when its factors say so (catalogue rule A5). Costs O(sum of axes squared).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlang.compiler.analysis.elements import axis_leaf
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import Clause
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import evaluate
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.tiling import AxisTiling, ExtentTiling

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Factor:
    """Conjunction of literals over one query axis and one key axis (either may be absent)."""

    q_axis: str | None
    k_axis: str | None
    literals: tuple[Expr, ...]

    @property
    def crosses(self) -> bool:
        """Does it join two axes?"""
        return self.q_axis != self.k_axis and None not in (self.q_axis, self.k_axis)


@dataclass(frozen=True)
class Split:
    """A clause as factors over distinct axes, and the literals that belong to none of them."""

    factors: tuple[Factor, ...]
    rest: tuple[Expr, ...]


def split(clause: Clause, q: ExtentTiling, k: ExtentTiling, known: Known) -> Split:
    """Group literals by the axes they connect. Token inputs lie on the axis of a 1-D segment."""
    factors: dict[tuple[str | None, str | None], list[Expr]] = {}
    rest: list[Expr] = []
    for literal in clause:
        axes = _axes(literal, q, k)
        if axes is None or not known.covers(literal):
            rest.append(literal)
        else:
            factors.setdefault(axes, []).append(literal)
    # Axes joined differently by different literals: (y, y) with (y, none) merge, (y, x) do not.
    merged: list[Factor] = []
    for (qa, ka), literals in sorted(
        factors.items(), key=lambda f: -sum(a is not None for a in f[0])
    ):
        home = next(
            (
                i for i, f in enumerate(merged)
                if (qa is None or qa == f.q_axis) and (ka is None or ka == f.k_axis)
            ),
            None,
        )  # fmt: skip
        if home is not None:
            f = merged[home]
            merged[home] = Factor(f.q_axis, f.k_axis, (*f.literals, *literals))
        elif any(
            (qa is not None and qa == f.q_axis) or (ka is not None and ka == f.k_axis)
            for f in merged
        ):
            rest.extend(literals)
        else:
            merged.append(Factor(qa, ka, tuple(literals)))
    return Split(tuple(merged), tuple(rest))


def _axes(literal: Expr, q: ExtentTiling, k: ExtentTiling) -> tuple[str | None, str | None] | None:
    found: dict[Side, set[str]] = {Side.Q: set(), Side.K: set()}
    for node in walk(literal):
        match node:
            case e.Coord(side=side, axis=axis):
                found[side].add(axis)
            case e.TokenInput(side=side):
                tiling = q if side is Side.Q else k
                if len(tiling.axes) > 1:
                    return None
                found[side].add(tiling.extent.axes[0])
            case e.Index(side=side):
                return None
            case _:
                pass
    if any(len(axes) > 1 for axes in found.values()):
        return None
    return next(iter(found[Side.Q]), None), next(iter(found[Side.K]), None)


def strip_table(factor: Factor, q: ExtentTiling, k: ExtentTiling, known: Known) -> BoolArray:
    """Does a factor hold anywhere on each pair of strips? ``[q strips, k strips]``, of length 1
    where it does not read the side."""
    at_q, at_k = _strips(q, factor.q_axis), _strips(k, factor.k_axis)
    q_values, k_values = _positions(q, factor.q_axis), _positions(k, factor.k_axis)
    table = factor_values(factor, q_values[:, None], k_values[None, :], q, k, known)
    if at_q is not None:
        table = _any(table, at_q)
    return table if at_k is None else _any(np.ascontiguousarray(table.T), at_k).T


def _strips(tiling: ExtentTiling, axis: str | None) -> AxisTiling | None:
    return None if axis is None else tiling.axes[tiling.extent.axes.index(axis)]


def factor_values(
    factor: Factor,
    q_values: NDArray[np.int64],
    k_values: NDArray[np.int64],
    q: ExtentTiling,
    k: ExtentTiling,
    known: Known,
) -> BoolArray:
    """The factor on coordinates of its two axes that broadcast against each other."""

    def tokens(x: e.TokenInput) -> NDArray[np.int64]:
        here, tiling = (q_values, q) if x.side is Side.Q else (k_values, k)
        return known.tokens[x.name, x.side][here - tiling.extent.origin[0]]

    leaf = axis_leaf(
        {factor.q_axis or "": q_values}, {factor.k_axis or "": k_values}, tokens, known
    )
    table = np.ones((), dtype=bool)
    for literal in factor.literals:
        table = table & np.asarray(evaluate(literal, leaf)).astype(bool, copy=False)
    return np.broadcast_to(table, np.broadcast_shapes(q_values.shape, k_values.shape))


def _positions(tiling: ExtentTiling, axis: str | None) -> NDArray[np.int64]:
    """The coordinates of an axis, strip after strip."""
    if axis is None:
        return np.zeros(1, dtype=np.int64)
    i = tiling.extent.axes.index(axis)
    return tiling.axes[i].order + tiling.extent.origin[i]


def _any(table: BoolArray, strips: AxisTiling) -> BoolArray:
    """Does any row of each strip hold? Rows come strip after strip ``[strips, columns]``."""
    found = table[strips.offsets]
    for i in range(1, strips.size):
        # Shorter strips look at their last again.
        found |= table[strips.offsets + np.minimum(i, strips.counts - 1)]
    return found


def spread(tables: list[tuple[Factor, BoolArray]], q: ExtentTiling, k: ExtentTiling) -> BoolArray:
    """The product of strip tables over all tile pairs ``[q tiles, k tiles]``."""
    q_shape = tuple(a.strips for a in q.axes)
    k_shape = tuple(a.strips for a in k.axes)
    product = np.ones((1,) * (len(q_shape) + len(k_shape)), dtype=bool)
    for factor, table in tables:
        shape = [1] * (len(q_shape) + len(k_shape))
        if factor.q_axis is not None:
            i = q.extent.axes.index(factor.q_axis)
            shape[i] = q_shape[i]
        if factor.k_axis is not None:
            j = k.extent.axes.index(factor.k_axis)
            shape[len(q_shape) + j] = k_shape[j]
        product = product & table.reshape(shape)
    return np.broadcast_to(product, (*q_shape, *k_shape)).reshape(q.tiles, k.tiles)
