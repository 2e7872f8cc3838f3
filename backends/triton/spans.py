"""The text of walks without tables: see :mod:`attnlang.backends.triton.closed`.

Spans are worked out once a program, in steps of the moving side, and made disjoint where a union
has several. Two loops then visit all of them: one those steps to be asked pair by pair, left and
right of what is full, one those that are full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.closed import Interval
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.source.tree import Block, Literal, Name, X, op
from attnlang.compiler.ir.expr import Expr, Side

STEP = Name("STEP")


@dataclass(frozen=True, slots=True)
class Span:
    """Steps ``begin`` to ``end``, of which those from ``inner`` to ``outer`` are full."""

    begin: X
    inner: X
    outer: X
    end: X


def span_walk(
    block: Block,
    lowering: Lowering,
    found: tuple[Interval, ...],
    step: Callable[[bool], Callable[[Block], None]],
    steps: Callable[[X, X], X],
) -> None:
    """Visits every step that holds a token of an interval, once. steps: a run of them as a range.

    Step 0 begins at ``anchor``: at the first token of the only span, at 0 where there are several,
    so that no step belongs to two.
    """
    spans = spans_of(block, lowering, found)
    block.remark("Steps where the predicate decides pair by pair.")
    pieces = [x for s in spans for x in ((s.begin, s.inner), (s.outer, s.end))]
    visit(block, pieces, step(True), steps)
    block.remark("Steps where every pair attends.")
    visit(block, [(s.inner, s.outer) for s in spans], step(False), steps)


def spans_of(block: Block, lowering: Lowering, found: tuple[Interval, ...]) -> list[Span]:
    """The spans of a tile of the standing side, disjoint and in ascending order."""
    if len(found) != 1:
        block.let("anchor", 0)
        spans = [_span(block, lowering, one, f"_{i}") for i, one in enumerate(found)]
        return _disjoint(block, spans)
    return [_span(block, lowering, found[0], "")]


def _span(block: Block, lowering: Lowering, interval: Interval, suffix: str) -> Span:
    length = Name(f"length_{lowering.moving}")
    low, low_varies = _place(lowering, interval.lower)
    high, high_varies = _place(lowering, interval.upper)
    low = Literal(0) if low is None else op("maximum")(low, 0)
    high = length if high is None else op("minimum")(high, length)
    live, live_varies = lowering.standing(interval.condition)
    if not isinstance(live, Literal):
        # Tokens without an interval stretch no span, and leave none full.
        low, high = op("where")(live, low, length), op("where")(live, high, 0)
    first, full_first = _extremes(block, "min", low, low_varies or live_varies, suffix)
    full_last, last = _extremes(block, "max", high, high_varies or live_varies, suffix)
    if suffix:
        begin: X = block.let(f"begin{suffix}", first // STEP)
    else:
        begin = Literal(0)
        block.let("anchor", first)
    anchor = Name("anchor")
    end = block.let(f"end{suffix}", op("maximum")(last - anchor + STEP - 1, 0) // STEP)
    if suffix:
        # An empty span may lie within a step.
        end = block.let(end.text, op("where")(first < last, end, begin))
    if not interval.whole:
        return Span(begin, end, end, end)
    inner = (full_first - anchor + STEP - 1) // STEP
    inner = block.let(f"inner{suffix}", op("minimum")(op("maximum")(inner, begin), end))
    outer = (full_last - anchor) // STEP
    outer = block.let(f"outer{suffix}", op("minimum")(op("maximum")(outer, inner), end))
    return Span(begin, inner, outer, end)


def _place(lowering: Lowering, bound: Expr | None) -> tuple[X | None, bool]:
    """A bound as a place of the moving side, and whether it varies within the tile."""
    if bound is None:
        return None, False
    code, varies = lowering.standing(bound)
    if lowering.moving is Side.Q:
        code = code - lowering.argument(a.Origin(Side.Q))
    return code, varies


def _extremes(block: Block, first: str, ends: X, varies: bool, suffix: str) -> tuple[X, X]:
    """The lowest and the highest of a tile's ends. first: which of them bounds the visit."""
    kind = "first" if first == "min" else "last"
    names = [f"{kind}{suffix}", f"full_{kind}{suffix}"]
    if not varies:
        one = block.let(names[0], ends)
        return one, one
    ends = block.let(f"{'low' if first == 'min' else 'high'}{suffix}", ends)
    names = names if first == "min" else names[::-1]
    return block.let(names[0], op("min")(ends, 0)), block.let(names[1], op("max")(ends, 0))


def _disjoint(block: Block, spans: list[Span]) -> list[Span]:
    """The spans in ascending order, each cut to what those before it leave."""
    order = list(spans)
    for last in range(len(order) - 1, 0, -1):
        for i in range(last):
            order[i], order[i + 1] = _sorted(block, order[i], order[i + 1], f"{i}_{last}")
    for i in range(1, len(order)):
        before, s = order[i - 1], order[i]
        begin = block.let(f"begin_{i}", op("maximum")(s.begin, before.end))
        end = block.let(f"end_{i}", op("maximum")(s.end, begin))
        inner = block.let(f"inner_{i}", op("maximum")(s.inner, begin))
        outer = block.let(f"outer_{i}", op("maximum")(s.outer, inner))
        order[i] = Span(begin, inner, outer, end)
    return order


def _sorted(block: Block, one: Span, two: Span, suffix: str) -> tuple[Span, Span]:
    swap = block.let(f"swap_{suffix}", two.begin < one.begin)

    def pick(yes: Span, no: Span, word: str) -> Span:
        made = (
            block.let(f"{word}_{field}_{suffix}", op("where")(swap, x, y))
            for field, x, y in zip(
                ("begin", "inner", "outer", "end"), _fields(yes), _fields(no), strict=True
            )
        )
        return Span(*made)

    return pick(two, one, "left"), pick(one, two, "right")


def _fields(s: Span) -> tuple[X, X, X, X]:
    return s.begin, s.inner, s.outer, s.end


def visit(
    block: Block, pieces: list[tuple[X, X]], step: Callable[[Block], None],
    steps: Callable[[X, X], X],
) -> None:  # fmt: skip
    """Several runs of steps, one after another.

    One loop over all, with a choice of the step in it, takes more registers.
    """
    if not pieces:
        return
    body = Block()
    step(body)
    if len(pieces) == 1:
        block.loop("step", steps(*pieces[0]), body)
        return
    outer = Block()
    for i, word in enumerate(("from_step", "to_step")):
        chosen = pieces[-1][i]
        for n, piece in reversed(list(enumerate(pieces[:-1]))):
            chosen = op("where")(Name("piece").equal(n), piece[i], chosen)
        outer.let(word, chosen)
    outer.loop("step", steps(Name("from_step"), Name("to_step")), body)
    block.loop("piece", Name("range")(0, len(pieces)), outer)
