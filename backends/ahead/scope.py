"""Lines of a directory's `attention.py`, and the numbers that their expressions read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from attnlang.backends.ahead.numbers import Written, safe, table_name
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.pattern import InputDecl, PatternIR
from attnlang.compiler.ir.program import Attention, Recurrence
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import substitute_values
from attnlang.compiler.ir.vector import CHANNEL, ONE, Space, lone
from attnlang.compiler.problem.program import BoundProgram

RESERVED = frozenset(
    ("t", "torch", "launch", "linear", "device", "dtype", "scale", "q_offset", "state", "left")
)
"""Local names of `attention.py` that no tensor may take."""


LONE = {lone(side)[0]: f"one_{side}" for side in Side}
"""The one token that stands for all of a side."""


def local(name: str) -> str:
    """The local name of a program's tensor."""
    if name in LONE:
        return LONE[name]
    name = re.sub(r"\W", "_", name)
    taken = name in RESERVED or name.startswith(("in_", "table_", "len_", "run_"))
    return f"{name}_" if taken else safe(name)


@dataclass(slots=True)
class Scope:
    """What has been written of one program, and what it may read.

    made: numbers of tokens that steps have made, and by which side's tokens they go.
    """

    bound: BoundProgram
    lines: list[str] = field(default_factory=list)
    made: dict[str, Space] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    depth: int = 1

    @property
    def pattern(self) -> PatternIR:
        return self.bound.frame.pattern

    @property
    def alone(self) -> bool:
        """Are keys those of the queries' tokens? So they are where every attention is linear."""
        steps = (s for s in self.bound.program.steps if isinstance(s, Attention))
        branches = [b for s in steps for b in s.branches]
        return bool(branches) and all(isinstance(b, Recurrence) for b in branches)

    @property
    def open(self) -> bool:
        """May lengths be others than it was compiled for? One axis has as many as there are."""
        return all(len(self.bound.frame.extents(s)) == 1 for s in Side) and all(
            len(self.pattern.axes(s)) == 1 for s in Side
        )

    def write(self, line: str = "") -> None:
        self.lines.append("    " * self.depth + line if line else "")

    @contextmanager
    def inside(self, opening: str) -> Iterator[None]:
        """What is written within it stands below a line that opens a block."""
        self.write(opening)
        self.depth += 1
        yield
        self.depth -= 1

    def length(self, side: Side, axis: str) -> str:
        if axis == ONE:
            return "1"
        if axis == CHANNEL:
            return str(self.bound.length(side, axis))
        return f"len_{side}_{axis}"

    def tokens(self, space: Space) -> str:
        """How many tokens a space has."""
        if space.whole:
            extents = self.bound.frame.extents(space.side)
            more = sum(x.size for x in extents if not x.segment.is_grid)
            grid = self.grid(space)
            return f"{grid} + {more}" if more else grid
        return self.grid(space)

    def grid(self, space: Space) -> str:
        """How many tokens the grid of its axes has."""
        return " * ".join(self.length(space.side, a) for a in space.axes) or "1"

    def lengths(self, space: Space) -> str:
        """Of its axes, as a tuple."""
        return f"({''.join(self.length(space.side, a) + ', ' for a in space.axes)})"

    def origin(self, space: Space) -> str:
        """The first coordinate on the first axis."""
        here = space.whole and (space.side is Side.Q or self.alone)
        return "q_offset" if here else "0"

    def segments(self, space: Space, around: Mapping[str, Space], before: int) -> str:
        """Of tokens: those of a space, with tensors that stand before and behind it."""
        grid = ", ".join(f'"{safe(a)}": {self.length(space.side, a)}' for a in space.axes)
        found = []
        if space.whole:
            for x in self.bound.frame.extents(space.side):
                name = x.segment.name
                own = grid if x.segment.is_grid else f'"{safe(name)}": {x.size}'
                found.append(f'("{name}", {{{own}}})')
        else:
            found.append(f'("grid", {{{grid}}})')
        others = [f'("{n}", {{"{safe(n)}": {self.tokens(s)}}})' for n, s in around.items()]
        return f"[{', '.join([*others[:before], *found, *others[before:]])}]"

    def numbers(
        self, name: str, exprs: Iterable[Expr | None], query: Space | None = None,
        keys: Mapping[str, Space] | None = None, *, pattern: PatternIR | None = None,
        heads: tuple[int, int] | None = None, shared: tuple[int, int] | None = None,
        channels: str = "", some: str = "",
    ) -> Written:  # fmt: skip
        """How expressions read, once the tokens that they speak of have been written.

        query, keys: where the tokens lie; several keys stand one behind the other. pattern: whose
        inputs they read. heads: of the step. shared: its query and key heads. some: the local name
        of those heads that are asked for, where it is not all.
        """
        name = re.sub(r"\W", "_", name)
        read = [x for root in exprs if root is not None for x in walk(root)]
        frame = self.bound.frame
        start, stop = heads or (0, frame.heads)
        spaces: dict[Side, Space] = {}
        for side, space, around, before in self.sides(query, keys):
            spaces[side] = space
            used = {x.name for x in read if isinstance(x, e.TokenInput) and x.side is side}
            seen = any(
                isinstance(x, e.Coord | e.Index | e.InSegment | e.TokenInput) and x.side is side
                for x in read
            )
            if seen:
                given = ""
                for n in sorted(used):
                    x = f"in_{space.side}_{n}"
                    x = f"t.some({x}, {some})" if some else self.of_heads(x, start, stop, n)
                    given += f", {safe(n)}={x}"
                text = self.segments(space, around, before)
                local_name = f"{'i' if side is Side.Q else 'j'}_{name}"
                dim = 2 if side is Side.Q else 3
                origin = self.origin(space)
                self.write(f"{local_name} = t.tokens({dim}, {text}, device, {origin}{given})")
        count = f"head_{name}"
        symbols = {x.name for x in read if isinstance(x, e.Symbol)}
        if symbols & {SymbolName.HEAD, SymbolName.KV_HEAD}:
            every = f"t.all_heads({stop - start}, device)"
            self.write(f"{count} = {f'{some}.view(1, -1, 1, 1)' if some else every}")
        for node in read:
            if isinstance(node, e.Table):
                self.table(node.name)
        queries, key_heads = shared or (frame.heads, frame.kv_heads)

        def length(side: Side, axis: str) -> str:
            space = spaces.get(side)
            if space is not None and axis in space.axes:
                return self.length(space.side, axis)
            if keys and axis in keys:
                return f"({self.tokens(keys[axis])})"
            return self.length(side, axis)

        counts = {
            SymbolName.HEADS: queries if shared and query and query.heads is None else frame.heads,
            SymbolName.KV_HEADS: key_heads,
            SymbolName.HEAD_DIM: frame.head_dim,
        }
        values = {
            n: v * frame.heads if len(v) == 1 else v
            for n, v in (pattern or self.pattern).values
            if isinstance(v, tuple)
        }
        first = self._first() if self.alone else {}
        return Written(
            length, counts, values, first, channels, query=f"i_{name}", key=f"j_{name}", head=count
        )

    def sides(
        self, query: Space | None, keys: Mapping[str, Space] | None
    ) -> Iterable[tuple[Side, Space, dict[str, Space], int]]:
        if query is not None:
            yield Side.Q, query, {}, 0
        if keys:
            names = list(keys)
            grid = next((i for i, s in enumerate(keys.values()) if s.whole), len(names) - 1)
            around = {n: s for n, s in keys.items() if n != names[grid]}
            yield Side.K, keys[names[grid]], around, grid

    def closed(self, x: Expr, pattern: PatternIR | None = None) -> Expr:
        """With the values of parameters put in."""
        return substitute_values(x, pattern or self.pattern)

    def joined(self, names: Sequence[str], start: int, stop: int, given: int, wanted: int) -> str:
        """Tensors one behind the other, for some query heads. given: the heads they have, at most.
        wanted: those they are to be repeated to."""
        every = self.bound.frame.heads
        if len(names) == 1 and (start, stop) == (0, every):
            x = local(names[0])
            x = x if names[0] in ("q", "k", "v") else f"{x}.to(dtype)"
        else:
            tensors = "".join(f"{local(n)}, " for n in names)
            x = f"t.joined(({tensors}), {start}, {stop}, {every}, dtype)"
        return x if given == wanted else f"t.repeated({x}, {wanted})"

    def of_heads(self, text: str, start: int, stop: int, name: str) -> str:
        """An input's values for some heads."""
        decl = next((i for i in self.pattern.inputs if i.name == name), None)
        by_head = name in self.made if decl is None else "head" in decl.dims
        whole = stop - start == self.bound.frame.heads
        return text if whole or not by_head else f"{text}[:, {start}:{stop}]"

    def table(self, name: str) -> None:
        """An input of tokens, where it is read as a table."""
        decl = next((i for i in self.pattern.inputs if i.name == name), None)
        if decl is None or not decl.sides or name in self.tables:
            return
        self.tables.add(name)
        side = decl.sides[0]
        axes = ", ".join(self.length(side, a) for a in self.pattern.axes(side))
        dims = [d for d in decl.dims if d != "batch"]
        place = dims.index("head") if "head" in dims else None
        self.write(f"{table_name(name)} = t.as_table(in_{side}_{name}, ({axes},), {place})")

    def _first(self) -> dict[str, int]:
        """Tables with a row for each token of the call, and which index says so."""
        found = {}
        for decl in self.pattern.inputs:
            dims = [d for d in decl.dims if d != "batch"]
            if self.pattern.k_axes[0] in dims:
                found[decl.name] = dims.index(self.pattern.k_axes[0])
        return found

    def inputs(self, skipped: Iterable[str]) -> list[InputDecl]:
        """Those that are no tensors of vectors."""
        return [i for i in self.pattern.inputs if i.name not in set(skipped)]
