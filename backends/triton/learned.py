"""Which tensors of a score or gain are learned, and what their gradients are sums of.

An entry's gradient is the sum, over the pairs that read it, of the slope of the loss by the edited
score times the slope of the edit by the entry. Where one token decides which entry is read, sums
over the other side come first; torch adds those up by entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.backends.triton.slope import SCORE, ZERO, slope
from attnlang.compiler.analysis.normal import reads
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.pattern import Attend
from attnlang.compiler.ir.traverse import walk


@dataclass(frozen=True, slots=True)
class Leaf:
    """One way of reading a learned tensor.

    slope, gain: of the score and of the gain by what is read. sides: tokens that decide which entry
    that is.
    """

    number: int
    node: e.Table | e.TokenInput
    slope: Expr
    gain: Expr
    sides: frozenset[Side]

    @property
    def stands_on(self) -> Side | None:
        """The side whose tokens slopes are summed for; None: they are summed by entry."""
        if len(self.sides) == 2:
            return None
        return next(iter(self.sides), Side.Q)

    @property
    def by_entry(self) -> e.Table | None:
        """The table whose entries pairs choose; None where tokens of one side do."""
        return self.node if self.stands_on is None and isinstance(self.node, e.Table) else None


def leaves(attend: Attend, learned: frozenset[str]) -> tuple[Leaf, ...]:
    """The leaves of an attention's score and gain that read a tensor in ``learned``, in reading
    order."""
    roots = [x for x in (attend.score, attend.gain) if x is not None]
    nodes = dict.fromkeys(
        x
        for root in roots
        for x in walk(root)
        if isinstance(x, e.Table | e.TokenInput) and x.kind is Kind.FLOAT and x.name in learned
    )
    return tuple(
        Leaf(
            i,
            x,
            slope(attend.score or SCORE, x),
            slope(attend.gain or ZERO, x),
            frozenset(s for s in Side if _chosen_by(x, s)),
        )
        for i, x in enumerate(nodes)
    )


def _chosen_by(x: e.Table | e.TokenInput, side: Side) -> bool:
    if isinstance(x, e.TokenInput):
        return x.side is side
    return any(moves(index, side) for index in x.indices)


def moves(index: Expr, side: Side) -> bool:
    """May an index differ between tokens of a side?"""
    return reads(index, side) or SCORE in walk(index)
