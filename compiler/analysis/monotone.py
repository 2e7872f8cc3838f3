"""Proofs about bounds of key intervals: monotone in the query, never empty, always touching."""

from __future__ import annotations

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.intervals import Intervals, Range
from attnlang.compiler.ir.linear import Linear, difference, linear
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.layout.tiling import ExtentTiling
from attnlang.compiler.problem.bind import PYTHON

_ANY = 2**62
NOWHERE_AXIS = ""
"""Axis of a stand-in coordinate: it never decreases with the query, and nothing else is known."""


def corners_suffice(
    lowers: list[Expr], uppers: list[Expr], q: ExtentTiling, k: ExtentTiling
) -> bool:
    """Do the first and last query of a tile bound the keys of all, without gaps?

    Needs bounds that never decrease with the query. Then it holds when the intervals are nested
    (all lower or all upper bounds constant), or when every row has a key and touches the next.
    """
    grows = [growth(b) for b in (*lowers, *uppers)]
    if any(g is None for g in grows):
        return False
    if not any(grows[: len(lowers)]) or not any(grows[len(lowers) :]):
        return True
    low, high = q.extent.origin[0], q.extent.origin[0] + q.extent.size - 1
    first = k.extent.origin[0]
    lower = [*lowers, e.Int(first)]
    upper = [*uppers, e.Int(first + k.extent.size)]
    return all(
        _never_above(e.Arith("+", a, e.Int(1)), b, low, high)  # a(q) < b(q)
        and (high == low or _touches(a, b, low, high - 1))  # a(q + 1) <= b(q)
        for a in lower
        for b in upper
    )


@remembered
def growth(x: Expr) -> int | None:
    """At most how much ``x`` grows from one query to the next; None if it may decrease."""
    if not any(isinstance(n, e.Coord | e.Index | e.TokenInput | e.InSegment) for n in walk(x)):
        return 0  # the same for all queries
    match x:
        case e.Coord(side=Side.Q):
            return 1
        case e.Arith(op="+" | "-" | "*") | e.Neg():
            total = 0
            for atom, c in linear(x).terms:
                g = None if atom == x else growth(atom)
                if g is None or (c < 0 and g > 0):
                    return None
                total += max(c, 0) * g
            return total
        case e.Arith(op="//", left=a, right=e.Int(value=m)) if m > 0:
            g = growth(a)
            return None if g is None else -(-g // m)
        case e.Apply(function="ceildiv", arguments=(a, e.Int(value=m))) if m > 0:
            g = growth(a)
            return None if g is None else -(-g // m)
        case e.Apply(function="min" | "max" | "clamp"):
            found = [growth(a) for a in x.arguments]
            return None if None in found else max(g for g in found if g is not None)
        case _:
            return None


def _touches(a: Expr, b: Expr, low: int, high: int) -> bool:
    """a(q + 1) <= b(q) for every q in [low, high], by a's growth or by a's value at q + 1."""
    g = growth(a)
    if g is not None and _never_above(e.Arith("+", a, e.Int(g)), b, low, high):
        return True
    following = rewrite(a, lambda x: e.Arith("+", x, e.Int(1)) if isinstance(x, e.Coord) else None)
    return _never_above(following, b, low, high)


def _never_above(a: Expr, b: Expr, low: int, high: int) -> bool:
    """Is a(q) <= b(q) for every query coordinate in [low, high]? Proved, or False.

    Where ``(q + c) // m`` occurs, q is also written ``m * ((q + c) // m) + r - c`` with r in
    [0, m), so that a floor division cancels against q itself.
    """
    form = difference(a, b)
    if _at_most_zero(form, low, high, {}):
        return True
    for atom, _ in form.terms:
        match atom:
            case e.Arith(op="//", left=inner, right=e.Int(value=m)) if m > 0:
                shift = linear(inner)
                if [c for _, c in shift.terms] == [1] and isinstance(shift.atoms[0], e.Coord):
                    remainder = e.Index(Side.Q)  # any leaf not otherwise present: it stands for r
                    q = shift.atoms[0]
                    count = form.coefficient(q)
                    terms = {x: c for x, c in form.terms if x != q}
                    terms[atom] = terms.get(atom, 0) + count * m
                    terms[remainder] = count
                    swapped = Linear(
                        tuple((x, c) for x, c in terms.items() if c),
                        form.constant - count * shift.constant,
                    )
                    if _at_most_zero(swapped, low, high, {remainder: (0, m - 1)}):
                        return True
            case _:
                pass
    return False


def _at_most_zero(form: Linear, low: int, high: int, more: dict[Expr, Range]) -> bool:
    def leaf(x: Expr) -> Range:
        if x in more:
            return more[x]
        known = isinstance(x, e.Coord) and x.side is Side.Q and x.axis != NOWHERE_AXIS
        return (low, high) if known else (-_ANY, _ANY)

    _, most = Intervals(PYTHON, leaf).sum_of(form)
    return bool(most <= 0)
