"""The text of walks without tables: see :mod:`attnlang.backends.triton.closed`.

Spans are worked out once a program, in steps of the moving side, and made disjoint where a union
has several. Two loops then visit all of them: one those steps to be asked pair by pair, left and
right of what is full, one those that are full. A pair is asked by the ends of its standing token's
intervals, which the spans need anyway, not by the predicate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.closed import Interval
from attnlang.backends.triton.functions import INT32, UINT32
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.source.tree import ALL, NEW, Attribute, Block, Literal, Name, X, op
from attnlang.compiler.ir.expr import Expr, Side

STEP = Name("STEP")


@dataclass(frozen=True, slots=True)
class Span:
    """Steps ``begin`` to ``end``, of which those from ``inner`` to ``outer`` are full."""

    begin: X
    inner: X
    outer: X
    end: X


@dataclass(frozen=True, slots=True)
class Ends:
    """Of the moving side, the first token inside and that after the last: vectors of the standing
    side where they vary. width: how many are inside, where the first varies."""

    low: X
    high: X
    high_varies: bool
    width: X | None


def visit_spans(
    block: Block, spans: list[Span], step: Callable[[bool], Callable[[Block], None]],
    steps: Callable[[X, X], X], *, ahead: bool = False,
) -> None:  # fmt: skip
    """Visits every step of the spans once. steps: a run of them as a range. ahead: are there
    registers for a loop over several?

    Step 0 begins at ``anchor``: at the first token of the only span, at 0 where there are several,
    so that no step belongs to two.
    """
    block.remark("Steps where each pair is asked.")
    pieces = [x for s in spans for x in ((s.begin, s.inner), (s.outer, s.end))]
    visit(block, pieces, step(True), steps, ahead=ahead)
    block.remark("Steps where every pair attends.")
    visit(block, [(s.inner, s.outer) for s in spans], step(False), steps, ahead=ahead)


def spans_of(
    block: Block, lowering: Lowering, found: tuple[Interval, ...]
) -> tuple[list[Span], list[Ends]]:
    """The spans of a tile of the standing side, disjoint and in ascending order; and the intervals
    of its tokens, of which a pair may be in several."""
    if len(found) == 1:
        span, ends = _span(block, lowering, found[0], "")
        return [span], [ends]
    block.let("anchor", 0)
    both = [_span(block, lowering, one, f"_{i}") for i, one in enumerate(found)]
    return _disjoint(block, [span for span, _ in both]), [ends for _, ends in both]


def attended(ends: list[Ends], place: X) -> X:
    """Which pairs ``[standing, moving]`` attend. place: of the moving tokens."""
    moving = place[(NEW, ALL)]
    found: X | None = None
    for one in ends:
        high = one.high[(ALL, NEW)] if one.high_varies else one.high
        if one.width is not None:
            # One comparison for both ends: what is before the first wraps round.
            after = Attribute(moving - one.low[(ALL, NEW)], "to")(UINT32, bitcast=True)
            inside = after < one.width[(ALL, NEW)]
        elif one.low == Literal(0) or len(ends) == 1:
            inside = moving < high
        else:
            inside = (moving >= one.low) & (moving < high)
        found = inside if found is None else found | inside
    assert found is not None
    return found


def _span(block: Block, lowering: Lowering, interval: Interval, suffix: str) -> tuple[Span, Ends]:
    length = Name(f"length_{lowering.moving}")
    low, low_varies = _place(lowering, interval.lower)
    high, high_varies = _place(lowering, interval.upper)
    low = Literal(0) if low is None else _within(low, length)
    high = length if high is None else _within(high, length)
    live, live_varies = lowering.standing(interval.condition)
    if not isinstance(live, Literal):
        # Tokens without an interval stretch no span, and leave none full.
        low, high = op("where")(live, low, length), op("where")(live, high, 0)
    low_varies, high_varies = low_varies or live_varies, high_varies or live_varies
    low, first, full_first = _extremes(block, "low", low, low_varies, suffix)
    high, full_last, last = _extremes(block, "high", high, high_varies, suffix)
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
    inner = (full_first - anchor + STEP - 1) // STEP
    inner = block.let(f"inner{suffix}", op("minimum")(op("maximum")(inner, begin), end))
    outer = (full_last - anchor) // STEP
    outer = block.let(f"outer{suffix}", op("minimum")(op("maximum")(outer, inner), end))
    width = None
    if low_varies:
        width = block.let(f"width{suffix}", op("maximum")(high - low, 0).to(UINT32))
    return Span(begin, inner, outer, end), Ends(low, high, high_varies, width)


def _within(end: X, length: X) -> X:
    return op("minimum")(op("maximum")(end, 0), length).to(INT32)


def _place(lowering: Lowering, bound: Expr | None) -> tuple[X | None, bool]:
    """A bound as a place of the moving side, and whether it varies within the tile."""
    if bound is None:
        return None, False
    code, varies = lowering.standing(bound)
    if lowering.moving is Side.Q:
        code = code - lowering.argument(a.Origin(Side.Q))
    return code, varies


def _extremes(block: Block, name: str, ends: X, varies: bool, suffix: str) -> tuple[X, X, X]:
    """A tile's ends, and the lowest and the highest of them. name: low or high."""
    words = ("first", "full_first") if name == "low" else ("full_last", "last")
    if not varies:
        one = block.let(f"{'first' if name == 'low' else 'last'}{suffix}", ends)
        return ends if isinstance(ends, Literal) else one, one, one
    ends = block.let(f"{name}{suffix}", ends)
    lowest, highest = (
        block.let(f"{word}{suffix}", op(f)(ends, 0))
        for word, f in zip(words, ("min", "max"), strict=True)
    )
    return ends, lowest, highest


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
    steps: Callable[[X, X], X], *, ahead: bool,
) -> None:  # fmt: skip
    """Several runs of steps, one after another. ahead: as one loop, within which loads are issued
    ahead? Read by pointers a step has no registers left for that."""
    if not pieces:
        return
    if len(pieces) == 1:
        body = Block()
        step(body)
        block.loop("step", steps(*pieces[0]), body)
    elif ahead:
        _one_loop(block, pieces, step, steps)
    else:
        _loop_of_loops(block, pieces, step, steps)


def _one_loop(
    block: Block, pieces: list[tuple[X, X]], step: Callable[[Block], None],
    steps: Callable[[X, X], X],
) -> None:  # fmt: skip
    turn, passed = Name("turn"), pieces[0][1] - pieces[0][0]
    chosen = turn + pieces[0][0]
    for i, (begin, end) in enumerate(pieces[1:], 1):
        passed = block.let(f"passed_{i}", passed)
        offset = block.let(f"offset_{i}", begin - passed)
        chosen = op("where")(turn >= passed, turn + offset, chosen)
        passed = passed + (end - begin)
    body = Block()
    body.let("step", chosen)
    step(body)
    block.loop("turn", steps(Literal(0), block.let("turns", passed)), body)


def _loop_of_loops(
    block: Block, pieces: list[tuple[X, X]], step: Callable[[Block], None],
    steps: Callable[[X, X], X],
) -> None:  # fmt: skip
    body, outer = Block(), Block()
    step(body)
    for i, word in enumerate(("from_step", "to_step")):
        chosen = pieces[-1][i]
        for n, piece in reversed(list(enumerate(pieces[:-1]))):
            chosen = op("where")(Name("piece").equal(n), piece[i], chosen)
        outer.let(word, chosen)
    outer.loop("step", steps(Name("from_step"), Name("to_step")), body)
    block.loop("piece", Name("range")(0, len(pieces)), outer)
