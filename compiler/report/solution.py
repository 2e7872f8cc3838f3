"""Which keys a query attends, solved for the key: inequalities as people would write them."""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.compiler.analysis.normal import expression
from attnlang.compiler.analysis.ranges import range_of
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.linear import linear
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.ir.traverse import kind_of, rewrite
from attnlang.compiler.plan.bounds import KeyBox, key_boxes
from attnlang.compiler.problem.problem import Problem

MOST_BOXES = 3
LONGEST = 160
"""Letters for all keys of a query beyond which nobody reads on."""


@dataclass(frozen=True, slots=True)
class Solution:
    """heads: the first and the one after the last. keys: the query's keys are those of each of
    these together, with lengths as ``len(n)``."""

    heads: tuple[int, int]
    keys: tuple[str, ...]


def solutions(problem: Problem) -> tuple[Solution, ...]:
    """One for each group of heads. None at all where there are segments beside the grid, or where
    some keys are no few intervals."""
    pattern = problem.pattern
    if any(len(pattern.segments_of(side)) > 1 for side in Side):
        return ()
    found = []
    for group in problem.groups:
        boxes = key_boxes(pattern, group=group.index)
        if boxes is None or len(boxes) > MOST_BOXES:
            return ()
        texts = (_text(x) for x in boxes)
        keys = tuple(dict.fromkeys(x for x in texts if x is not None))
        if sum(map(len, keys)) > LONGEST:
            return ()
        found.append(Solution((group.start, group.stop), keys))
    return tuple(found)


def _text(box: KeyBox) -> str | None:
    """What holds of its keys, within the sequence; None where it holds no key at any length."""
    parts = []
    for x in box.intervals:
        lower, upper = _tidy(x.lower), _tidy(x.upper)
        if range_of(upper)[1] <= 0:
            return None
        key, whole = f"k.{x.axis}", e.Length(Side.K, x.axis)
        if upper == _tidy(e.Apply("min", (whole, e.Arith("+", lower, e.Int(1))))):
            parts.append(f"{key} == {to_text(lower)}")
        elif (lower, upper) != (e.Int(0), whole):
            parts.append(f"{to_text(lower)} <= {key} < {to_text(upper)}")
        if x.step > 1:
            parts.append(f"{key} % {x.step} == {to_text(_tidy(x.residue))}")
    condition = _tidy(box.condition)
    if condition != e.TRUE:
        text = to_text(condition)
        parts.append(f"({text})" if isinstance(condition, e.Or) else text)
    return " and ".join(parts) or "every key"


def _tidy(x: Expr) -> Expr:
    """Sums with one number, and no bound of 0 beside one that is never below it."""

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Arith(op="+" | "-") if kind_of(x) is Kind.INT:
                return expression(linear(x))
            case e.Apply(function="max", arguments=(*some,)) if e.Int(0) in some:
                others = tuple(a for a in some if a != e.Int(0))
                if any(range_of(a)[0] >= 0 for a in others):
                    return others[0] if len(others) == 1 else e.Apply("max", others)
                return None
            case _:
                return None

    return rewrite(x, rule)
