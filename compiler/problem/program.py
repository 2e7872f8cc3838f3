"""A program bound to one call: the lengths of its parts, and a problem for each of its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Side, SymbolName
from attnlang.compiler.ir.intervals import Intervals
from attnlang.compiler.ir.pattern import PatternIR, Segment, map_clauses
from attnlang.compiler.ir.program import (
    Attention,
    Branch,
    Part,
    Program,
    Recurrence,
    Select,
    weights_of,
)
from attnlang.compiler.ir.scalar import Number, value_of
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.values import read_entries, substitute_values
from attnlang.compiler.ir.vector import CHANNEL, ONE, Space, lone, own_spaces
from attnlang.compiler.problem.bind import PYTHON, Sizes, bind, leaf_ranges
from attnlang.compiler.problem.problem import Extent, Problem, grid_of


@dataclass(frozen=True, slots=True)
class Runs:
    """A part of one side: run b covers ``b * stride <= x < b * stride + size``, cut at length."""

    length: int
    size: int
    stride: int
    count: int


@dataclass(frozen=True, eq=False)
class BoundProgram:
    """frame: the pattern's own tokens. runs: every part on both sides. spaces: where the tokens of
    every tensor lie. origins: by set or table with rows for the call's tokens alone, the coordinate
    of the first of them and the index it stands at.
    """

    frame: Problem
    known: dict[Expr, int]
    runs: dict[tuple[Side, str], Runs]
    spaces: dict[str, Space]
    origins: dict[str, tuple[int, int]] = field(default_factory=dict)
    _problems: dict[tuple[PatternIR, int, int, int], Problem] = field(default_factory=dict)
    _numbers: dict[tuple[Expr, int], tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        made = self.frame.pattern.program
        assert made is not None
        return made

    def length(self, side: Side, axis: str) -> int:
        return self.known[e.Length(side, axis)]

    def lengths(self, space: Space) -> tuple[int, ...]:
        """Tokens of a space along its axes."""
        return tuple(self.length(space.side, a) for a in space.axes)

    def number(self, x: Expr) -> Number:
        """The value of what does not vary within a call."""
        value = value_of(self.close(x))
        if value is None:
            raise failure("AL406", x.span, what="an amount of this program", value="unknown")
        return value

    def by_head(self, x: Expr, heads: int) -> tuple[float | None, ...]:
        """The value for each head, counted from 0; None where only the call knows it."""
        place = (x, heads)
        if place not in self._numbers:
            self._numbers[place] = tuple(self._at_head(x, head) for head in range(heads))
        return self._numbers[place]

    def _at_head(self, x: Expr, head: int) -> float | None:
        kv_head = head // (self.frame.heads // self.frame.kv_heads)
        numbers = {SymbolName.HEAD: head, SymbolName.KV_HEAD: kv_head}

        def put(node: Expr) -> Expr | None:
            match node:
                case e.Symbol(name=name) if name in numbers:
                    return e.Int(numbers[name])
            return None

        value = value_of(self.close(rewrite(x, put)))
        return None if value is None else float(value)

    def close(self, x: Expr) -> Expr:
        """An expression with parameters, lengths and counts put in."""

        def rule(node: Expr) -> Expr | None:
            return e.Int(self.known[node], span=node.span) if node in self.known else None

        pattern = self.frame.pattern
        closed = rewrite(substitute_values(self._read(x), pattern), rule)
        return read_entries(closed, pattern, self.frame.heads)

    def _read(self, x: Expr) -> Expr:
        """Such tables have a row for each token of the call; coordinates may start elsewhere."""

        def rule(node: Expr) -> Expr | None:
            if not isinstance(node, e.Table) or node.name not in self.origins:
                return None
            origin, place = self.origins[node.name]
            indices = list(node.indices)
            indices[place] = e.Arith("-", indices[place], e.Int(origin), span=node.span)
            return e.Table(node.name, node.kind, tuple(indices), span=node.span)

        return rewrite(x, rule) if self.origins else x

    def extents(self, space: Space) -> tuple[Extent, ...]:
        """The tokens of a space as a problem has them."""
        if space.whole:
            return self.frame.extents(space.side)
        lengths = self.lengths(space)
        return (Extent(Segment(GRID, "grid"), space.axes, lengths, 0, (0,) * len(lengths)),)

    def heads_of(self, branch: Branch | Recurrence) -> tuple[int, int]:
        """The query heads of one branch."""
        if branch.start is None or branch.stop is None:
            return 0, self.frame.heads
        start, stop = int(self.number(branch.start)), int(self.number(branch.stop))
        return max(start, 0), min(stop, self.frame.heads)

    def bound(
        self,
        pattern: PatternIR,
        query: Space,
        keys: dict[str, Space],
        heads: int,
        kv_heads: int,
        head_dim: int,
    ) -> Problem:
        """The problem of one step, made once: plans are kept by problem.

        keys: the tensors that stand one behind the other.
        """
        place = (pattern, heads, kv_heads, head_dim)
        if place not in self._problems:
            self._problems[place] = self._bound(pattern, query, keys, heads, kv_heads, head_dim)
        return self._problems[place]

    def _bound(
        self,
        pattern: PatternIR,
        query: Space,
        keys: dict[str, Space],
        heads: int,
        kv_heads: int,
        head_dim: int,
    ) -> Problem:
        if any(i.name in self.origins for i in pattern.inputs):
            groups = tuple(map_clauses(g, self._read) for g in pattern.groups)
            pattern = replace(pattern, groups=groups)
        sizes: dict[str, int] = {}
        key = next((s for s in keys.values() if s.whole), list(keys.values())[-1])
        for side, space in ((Side.Q, query), (Side.K, key)):
            for axis in space.axes:
                sizes[f"{side}.{axis}"] = self.length(space.side, axis)
            if space.whole:
                for x in self.frame.extents(space.side):
                    if not x.segment.is_grid:
                        sizes[f"{side}.{x.segment.name}"] = x.size
        for name, space in keys.items():
            if space is not key:
                sizes[f"{Side.K}.{name}"] = self.tokens(space)
        grid = grid_of(self.extents(query))
        known = self.known
        if query.heads is None:  # these are all its heads, not some of the program's
            known = {**known, e.Symbol(SymbolName.HEADS): heads}
        made = bind(
            pattern,
            sizes,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            q_offset=grid.origin[0],
            outer=known,
        )
        return replace(made, outer=self)

    def tokens(self, space: Space) -> int:
        """How many tokens a tensor of this space has."""
        return sum(x.size for x in self.extents(space))


def bind_program(
    pattern: PatternIR,
    sizes: Sizes,
    *,
    heads: int,
    kv_heads: int | None = None,
    head_dim: int = 64,
    q_offset: int = 0,
) -> BoundProgram:
    """Lengths and parts of one call. Raises PatternError (AL404-AL411)."""
    assert pattern.program is not None
    frame = bind(
        pattern, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
    )
    alone = frame.q_len == frame.k_len and _keeps_no_keys(pattern.program)
    if alone:
        k = tuple(replace(x, origin=y.origin) for x, y in zip(frame.k, frame.q, strict=True))
        frame = replace(frame, k=k)
    known: dict[Expr, int] = {
        e.Symbol(SymbolName.HEADS): heads,
        e.Symbol(SymbolName.KV_HEADS): frame.kv_heads,
        e.Symbol(SymbolName.HEAD_DIM): head_dim,
    }
    for side in Side:
        for x in frame.extents(side):
            known.update({e.Length(side, a): n for a, n in zip(x.axes, x.lengths, strict=True)})
        known.setdefault(e.Length(side, CHANNEL), head_dim)
    spaces = spaces_of(pattern)
    known.update({e.Length(side, ONE): 1 for side in Side})
    made = BoundProgram(frame, known, {}, spaces)
    if alone and q_offset:
        for decl in pattern.inputs:
            dims = [d for d in decl.dims if d != "batch"]
            if pattern.k_axes[0] in dims:
                made.origins[decl.name] = (q_offset, dims.index(pattern.k_axes[0]))
    for part in pattern.program.parts:
        for side in Side:
            length = _length(part, side, made)
            if length is not None:
                runs = _runs(part, length, made)
                made.runs[side, part.name] = runs
                known[e.Length(side, part.name)] = runs.count
    for step in pattern.program.steps:
        if isinstance(step, Select) and q_offset and _moves(spaces[step.query]):
            for name in (step.name, weights_of(step.name)):
                made.origins[name] = (q_offset, int(step.by_head))
        for branch in step.branches if isinstance(step, Attention) else ():
            if isinstance(branch, Recurrence) and branch.decay is not None:
                _check_decay(branch.decay, made)
    return made


def _keeps_no_keys(program: Program) -> bool:
    """Is every attention linear? Then the keys of a call are those of its queries' tokens."""
    branches = [b for s in program.steps if isinstance(s, Attention) for b in s.branches]
    return bool(branches) and all(isinstance(b, Recurrence) for b in branches)


def spaces_of(pattern: PatternIR) -> dict[str, Space]:
    """Where the tokens of q, k, v and of every tensor that a step makes lie."""
    found = {**own_spaces(pattern.q_axes, pattern.k_axes), **dict(map(lone, Side))}
    assert pattern.program is not None
    found.update(pattern.program.given)
    for step in pattern.program.steps:
        if not isinstance(step, Select):
            found[step.name] = step.space
    return found | dict(pattern.program.given)


def _moves(space: Space) -> bool:
    """Do coordinates of these tokens start where the call says?"""
    return space.whole and space.side is Side.Q


def _check_decay(decay: Expr, made: BoundProgram) -> None:
    """AL414 unless the log-decay is proved never to be above 0."""
    frame = made.frame
    ranges = leaf_ranges(frame.pattern, frame.k, frame.k, frame.heads, frame.kv_heads)
    _, high = Intervals(PYTHON, ranges).of(made.close(decay))
    if not high <= 0:
        shown = "any value" if high == math.inf else f"{float(high):.3g}"
        help = "it is the logarithm of a factor from 0 to 1: a minus before it, or `nonpositive`"
        raise failure("AL414", decay.span, f"may reach {shown}", help=help)


def _length(part: Part, side: Side, made: BoundProgram) -> int | None:
    if part.own:
        return int(made.number(part.size))
    if part.axis == "index":
        grid = grid_of(made.frame.extents(side))
        return grid.size
    return made.known.get(e.Length(side, part.axis))


def _runs(part: Part, length: int, made: BoundProgram) -> Runs:
    if part.own:
        if length < 1:
            what = f"the tokens of `{part.name}`"
            raise failure("AL406", part.span, what=what, value=length)
        return Runs(length, 1, 1, length)
    size, stride = int(made.number(part.size)), int(made.number(part.stride))
    for value, what in ((size, "size"), (stride, "stride")):
        if value < 1:
            name = f"the {what} of part `{part.name}`"
            help = "every run has a token or more: choose larger parameters"
            raise failure("AL406", part.span, "made here", what=name, value=value, help=help)
    count = (length - size) // stride + 1 if part.whole else -(-length // stride)
    return Runs(length, size, stride, max(count, 0))
