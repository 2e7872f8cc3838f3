"""Pattern + sizes -> problem: requirements hold, no divisor can be 0, no integer overflows."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import TypeAlias

from attnlang.compiler.diagnostics.report import Report, failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.intervals import DivisorMayBeZero, Intervals, Ops, Range, Value
from attnlang.compiler.ir.pattern import EmptyRule, HeadGroup, PatternIR, Per
from attnlang.compiler.ir.remember import same_again
from attnlang.compiler.ir.scalar import FUNCTIONS, Number, value_of
from attnlang.compiler.ir.share import shared
from attnlang.compiler.ir.simplify import simplify
from attnlang.compiler.ir.traverse import kind_of, rewrite
from attnlang.compiler.ir.values import (
    closed_groups,
    closed_requirements,
    read_entries,
    substitute_values,
)
from attnlang.compiler.problem.problem import BoundAttend, BoundGroup, Extent, Problem
from attnlang.compiler.syntax.limits import MAX_INTEGER

Sizes: TypeAlias = Mapping[str, int]
"""Lengths by axis or segment name; ``q.n`` and ``k.n`` where the two sides differ."""

_TO_INT = ("floor", "ceil", "round", "int", "ilog2", "pow2", "float")


def _function(name: str, x: Value) -> Value:
    if x != x or (abs(x) == math.inf and name in _TO_INT):
        return x
    return FUNCTIONS[name](x)


PYTHON = Ops(
    minimum=lambda a, b: a if a != a or a < b else b,
    maximum=lambda a, b: a if a != a or a > b else b,
    where=lambda c, a, b: a if c else b,
    function=_function,
    truth=int,
    some=bool,
    surely=bool,
)
LARGEST = 2**62 - 1
"""Beyond this an integer, or the difference of two, might not fit 64 bits."""


def bind(
    pattern: PatternIR,
    sizes: Sizes,
    *,
    heads: int = 1,
    kv_heads: int | None = None,
    head_dim: int = 64,
    q_offset: int = 0,
    outer: Mapping[Expr, int] | None = None,
) -> Problem:
    """The problem of one call. Raises PatternError naming what does not fit (AL404-AL411).

    outer: lengths and counts of the program that the pattern is a step of.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    known = _counts(pattern, heads, kv_heads, head_dim) | dict(outer or {})
    _check_heads(pattern, heads, kv_heads, known[e.Symbol(SymbolName.HEADS)])
    lengths = _lengths(pattern, sizes, known)
    q_offset = _whole(q_offset, 0, "the coordinate of the first query (q_offset)")
    q = _extents(pattern, Side.Q, lengths, q_offset)
    k = _extents(pattern, Side.K, lengths, 0)
    known.update({e.Length(s, a): n for (s, a), n in lengths.items()})
    report = Report()
    _check_requirements(pattern, known, report)
    report.raise_if_errors()
    groups = []
    for index, start, stop, group in _group_bounds(pattern, heads, known):
        attend = group.attend
        clauses = [
            c and _close(shared(c), pattern, known)
            for c in (attend.where, attend.score, attend.scale, attend.sink, attend.gain)
        ]
        intervals = Intervals(PYTHON, leaf_ranges(pattern, q, k, heads, kv_heads))
        for clause in clauses:
            if clause is not None:
                _check_numbers(clause, intervals, report)
        report.raise_if_errors()
        where, score, scale, sink, gain = (c and _decide(c, intervals) for c in clauses)
        assert where is not None
        empty = attend.empty or EmptyRule.ZERO
        bound = BoundAttend(where, score, scale, sink, empty, attend.normaliser, gain)
        groups.append(BoundGroup(start, stop, bound, index))
    return Problem(pattern, heads, kv_heads, head_dim, q, k, tuple(groups))


def _check_heads(pattern: PatternIR, heads: int, kv_heads: int, all_heads: int) -> None:
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        why = f"{heads} query heads are not a multiple of {kv_heads} key heads"
        raise failure("AL411", None, why=why)
    for name, value in pattern.values:
        declared = pattern.parameter(name)
        if declared.per is Per.HEAD and isinstance(value, tuple):
            if len(value) in (1, all_heads):
                continue
            why = f"`{name}` has {len(value)} values for {all_heads} heads"
            raise failure("AL411", declared.span, "declared here", why=why)


def _counts(pattern: PatternIR, heads: int, kv_heads: int, head_dim: int) -> dict[Expr, int]:
    return {
        e.Symbol(SymbolName.HEADS): heads,
        e.Symbol(SymbolName.KV_HEADS): kv_heads,
        e.Symbol(SymbolName.HEAD_DIM): head_dim,
    }


def _lengths(
    pattern: PatternIR, sizes: Sizes, known: Mapping[Expr, int]
) -> dict[tuple[Side, str], int]:
    """Every axis and segment length by side. ``q.n``/``k.n`` override ``n``.

    Axes first: the sizes of segments may be computed from their lengths.
    """
    lengths: dict[tuple[Side, str], int] = {}
    used: set[str] = set()
    segments = [(side, s) for side in (Side.Q, Side.K) for s in pattern.segments_of(side)]
    for side, segment in sorted(segments, key=lambda x: not x[1].is_grid):
        for name in pattern.axes(side) if segment.is_grid else (segment.name,):
            keys = [key for key in (f"{side}.{name}", name) if key in sizes]
            used.update(keys)
            if keys:
                size = sizes[keys[0]]
            elif segment.size is not None:
                axes: dict[Expr, int] = {e.Length(s, a): n for (s, a), n in lengths.items()}
                fixed = _number(segment.size, pattern, {**known, **axes})
                size = int(fixed) if fixed is not None else -1
            else:
                raise failure("AL405", None, what=f"`{name}`")
            low = 1 if segment.is_grid else 0
            lengths[side, name] = _whole(size, low, f"the length of `{name}`")
    for key in sizes:
        if key not in used:
            taken = {n for _, n in lengths} | {f"{s}.{n}" for s, n in lengths}
            raise failure(
                "AL412", None, pattern=pattern.name, name=key, help=did_you_mean(key, taken)
            )
    return lengths


def _whole(size: object, low: int, what: str) -> int:
    """A size as a plain integer. Raises AL406 for anything else."""
    try:
        whole = low - 1 if isinstance(size, bool) else operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        whole = low - 1
    if not low <= whole <= MAX_INTEGER:
        help = f"a whole number from {low} to {MAX_INTEGER}"
        raise failure("AL406", None, what=what, value=size, help=help)
    return whole


def _extents(
    pattern: PatternIR, side: Side, lengths: Mapping[tuple[Side, str], int], offset: int
) -> tuple[Extent, ...]:
    made: list[Extent] = []
    start = 0
    for segment in pattern.segments_of(side):
        axes = pattern.axes(side) if segment.is_grid else (segment.name,)
        sizes = tuple(lengths[side, a] for a in axes)
        origin = (offset,) + (0,) * (len(axes) - 1) if segment.name == GRID else (0,) * len(axes)
        made.append(Extent(segment, axes, sizes, start, origin))
        start += math.prod(sizes)
    if start > MAX_INTEGER:
        raise failure("AL406", None, what=f"the number of {side} tokens", value=start)
    return tuple(made)


def _check_requirements(pattern: PatternIR, known: Mapping[Expr, int], report: Report) -> None:
    for requirement in closed_requirements(pattern):
        if value_of(_close(requirement.condition, pattern, known)) is True:
            continue
        values = ", ".join(f"{n} = {v}" for n, v in pattern.values)
        lengths = ", ".join(
            f"len({x.axis}) = {n}"
            for x, n in known.items()
            if isinstance(x, e.Length) and x.side is Side.K
        )
        report.add(
            "AL404",
            requirement.span,
            requirement.message or "does not hold",
            pattern=pattern.name,
            condition=f"`{requirement.span.text}`",
            notes=(f"with {', '.join(t for t in (values, lengths) if t)}",),
        )


def _group_bounds(
    pattern: PatternIR, heads: int, known: Mapping[Expr, int]
) -> list[tuple[int, int, int, HeadGroup]]:
    """Index and numeric bounds of the head groups; they must cover all heads once."""
    found: list[tuple[int, int, int, HeadGroup]] = []
    for index, group in enumerate(closed_groups(pattern)):
        bounds = [value_of(_close(b, pattern, known)) for b in (group.start, group.stop)]
        start, stop = (int(b) if b is not None else -1 for b in bounds)
        if min(start, stop) < 0:
            why = f"a group begins or ends at head {min(start, stop)}; count heads from 0"
            raise failure("AL411", group.attend.span, why=why)
        found.append((index, start, min(max(start, stop), heads), group))
    covered = sorted((s, t) for _, s, t, _ in found if s < t)
    at = 0
    for start, stop in covered:
        if start != at:
            word = "none" if start > at else "two groups"
            raise failure(
                "AL411",
                pattern.groups[0].attend.span,
                why=f"head {min(at, start)} is in {word} of the `heads[...]` groups",
            )
        at = stop
    if at != heads and pattern.program is None:
        raise failure(
            "AL411",
            pattern.groups[0].attend.span,
            why=f"head {at} is in none of the `heads[...]` groups",
        )
    return [f for f in found if f[1] < f[2]]


def _close(clause: Expr, pattern: PatternIR, known: Mapping[Expr, int]) -> Expr:
    """A clause (its parameter values put in) with lengths and counts put in too."""

    def rule(x: Expr) -> Expr | None:
        return e.Int(known[x], span=x.span) if x in known else None

    heads = known[e.Symbol(SymbolName.HEADS)]
    return read_entries(same_again(clause, rewrite(clause, rule)), pattern, heads)


def _number(x: Expr, pattern: PatternIR, known: Mapping[Expr, int]) -> Number | None:
    """The value of what does not vary within a call; None where it has none."""
    return value_of(_close(substitute_values(x, pattern), pattern, known))


def _decide(clause: Expr, intervals: Intervals) -> Expr:
    """What these lengths settle everywhere becomes a constant: comparisons (``k.n < 0``), and
    quotients and the like (how many multiples of ``d`` there are)."""

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Compare() if kind_of(x.left) is not Kind.FLOAT:
                lo, hi = intervals.of(x)
                return e.Bool(bool(lo), span=x.span) if lo == hi else None
            case e.Apply() | e.Arith(op="//" | "%") if kind_of(x) is Kind.INT:
                lo, hi = intervals.of(x)
                return e.Int(int(lo), span=x.span) if lo == hi else None
            case _:
                return None

    return simplify(same_again(clause, rewrite(clause, rule)))


def _check_numbers(clause: Expr, intervals: Intervals, report: Report) -> None:
    """AL409 where a divisor may be 0, AL410 where an integer may leave 64 bits."""

    def watch(x: Expr, found: Range) -> None:
        lo, hi = found
        if not (abs(lo) <= LARGEST and abs(hi) <= LARGEST):
            most = PYTHON.maximum(abs(lo), abs(hi))
            report.add("AL410", x.span, value=most if math.isfinite(most) else "any value")

    intervals.watch = watch
    try:
        intervals.of(clause)
    except DivisorMayBeZero as error:
        node = error.node
        op = node.op if isinstance(node, e.Arith) else "ceildiv"
        report.add("AL409", node.span, "here", op=op)
    except OverflowError:
        report.add("AL410", clause.span, value="more than any number")
    finally:
        intervals.watch = None


def leaf_ranges(
    pattern: PatternIR, q: tuple[Extent, ...], k: tuple[Extent, ...], heads: int, kv_heads: int
) -> Callable[[Expr], Range]:
    """What each leaf can be anywhere in the problem, as a function of the leaf."""
    falling = {i.name for i in pattern.inputs if i.nonpositive}

    def leaf(x: Expr) -> Range:
        match x:
            case e.Coord(side=side, axis=axis):
                for extent in q if side is Side.Q else k:
                    if axis in extent.axes:
                        i = extent.axes.index(axis)
                        first = extent.origin[i]
                        return first, first + max(extent.lengths[i], 1) - 1
            case e.Index(side=side):
                return 0, max((q if side is Side.Q else k)[-1].stop - 1, 0)
            case e.Symbol(name=SymbolName.HEAD):
                return 0, heads - 1
            case e.Symbol(name=SymbolName.KV_HEAD):
                return 0, kv_heads - 1
            case e.Table(name=name) if name in dict(pattern.values):
                values = dict(pattern.values)[name]
                assert isinstance(values, tuple)
                return min(0, *values), max(0, *values)
            case e.InSegment():
                return 0, 1
            case e.TokenInput(name=name) | e.Table(name=name) if name in falling:
                return -math.inf, 0.0
            case _:
                pass
        match kind_of(x):
            case Kind.BOOL:
                return 0, 1
            case Kind.INT:
                return -MAX_INTEGER, MAX_INTEGER
            case Kind.FLOAT:
                return -math.inf, math.inf

    return leaf
