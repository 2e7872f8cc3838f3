"""``attnlang bench explain``: how long the report on a pattern of about a million tokens takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from attnlang import stdlib
from attnlang.api import load
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import InputDecl, PatternIR
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.values import closed_requirements
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import bind_program
from attnlang.pattern import Pattern

SCHEMA = "attnlang.bench.explain/1"
TARGET = 2.0
"""Seconds that a report should take at most."""
REPEATS = 3
"""Reports of each case, on a pattern loaded anew: nothing is known of it from the one before."""
SLOWEST = 10
"""Rows of the table."""

LENGTHS: Mapping[int, Sequence[tuple[int, ...]]] = {
    1: ((1 << 20,), (1_000_000,), (1_048_320,), (1 << 17,), (1 << 14,)),
    2: ((1024, 1024), (1008, 1008), (1000, 1000), (64, 16_384), (4096, 240), (4096, 256)),
    3: ((64, 128, 128), (56, 140, 140), (64, 112, 112), (100, 100, 100)),
    4: ((8, 8, 128, 128), (16, 16, 64, 64), (1024, 1024, 2, 512)),
}
"""By number of axes: the first that a pattern admits is taken. Where queries and keys share no
axis, each side has these, or both together."""
EXTRA = 64
"""Tokens of a prefix or suffix whose size is not said."""
HEADS = (8, 12, 1)
MOST_TOKENS = 1 << 24
"""Tokens of the longest tensor of a program: some have one for every pair of two things."""
MOST_VALUES = 1 << 26
"""Entries of an input. Those that are larger are left out, and the report has bounds."""


@dataclass(frozen=True, slots=True)
class Case:
    """A pattern with sizes that meet its demands."""

    pattern: Pattern
    sizes: dict[str, int]
    heads: int
    kv_heads: int
    head_dim: int
    frame: Problem

    def seconds(self, inputs: Mapping[str, Any]) -> tuple[float, float]:
        """Of the clock and of the processor: medians."""
        taken = []
        for _ in range(REPEATS):
            pattern = load(f"stdlib:{self.pattern.name}")
            clock, processor = time.perf_counter(), time.process_time()
            pattern.explain(self.sizes, self.heads, self.head_dim, kv_heads=self.kv_heads, **inputs)
            taken.append((time.perf_counter() - clock, time.process_time() - processor))
        clocks, processors = zip(*taken, strict=True)
        return median(clocks), median(processors)


def case_of(name: str) -> Case | None:
    """A pattern of the standard library at about a million tokens; None where none of the sizes
    and heads that are tried meets its demands."""
    pattern = load(f"stdlib:{name}")
    ir = pattern.ir
    head_dim = _demanded(ir, SymbolName.HEAD_DIM) or 64
    for sizes in _sizes(ir):
        for heads in HEADS:
            kv_heads = _demanded(ir, SymbolName.KV_HEADS) or heads
            try:
                frame = _frame(ir, sizes, heads, kv_heads, head_dim)
            except PatternError:
                continue
            if frame is not None:
                return Case(pattern, sizes, heads, kv_heads, head_dim, frame)
    return None


def _frame(
    ir: PatternIR, sizes: Mapping[str, int], heads: int, kv_heads: int, head_dim: int
) -> Problem | None:
    """The pattern, or its whole program, bound; None where a tensor of it is too long."""
    if ir.program is None:
        return bind(ir, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    made = bind_program(ir, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    longest = max(made.tokens(space) for space in made.spaces.values())
    return made.frame if longest <= MOST_TOKENS else None


def _sizes(ir: PatternIR) -> Iterator[dict[str, int]]:
    extra = {s.name: EXTRA for s in ir.segments if not s.is_grid and s.size is None}
    if not {*ir.q_axes} & {*ir.k_axes}:
        for q in LENGTHS[len(ir.q_axes)]:
            for k in LENGTHS[len(ir.k_axes)]:
                yield dict(zip((*ir.q_axes, *ir.k_axes), (*q, *k), strict=True)) | extra
    axes = tuple(dict.fromkeys((*ir.q_axes, *ir.k_axes)))
    for lengths in LENGTHS[len(axes)]:
        yield dict(zip(axes, lengths, strict=True)) | extra


def _demanded(ir: PatternIR, name: SymbolName) -> int | None:
    """The number that a requirement says a count is equal to."""
    for requirement in closed_requirements(ir):
        match requirement.condition:
            case e.Compare(op="==", left=e.Symbol(name=found), right=right) if found == name:
                value = value_of(right, {})
                if value is not None:
                    return int(value)
            case _:
                pass
    return None


def deciding(ir: PatternIR) -> list[InputDecl]:
    """The inputs that decide which pairs attend."""
    steps = [ir] if ir.program is None else [p for _, p in ir.program.patterns]
    conditions: list[Expr] = [g.attend.where for p in steps for g in p.groups]
    names = {
        x.name for root in conditions for x in walk(root) if isinstance(x, e.TokenInput | e.Table)
    }
    return [i for i in ir.inputs if i.name in names]


def drawn(case: Case) -> dict[str, Any]:
    """Random values of a fixed seed for the inputs that decide; of those that are not too large."""
    source = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for decl in deciding(case.pattern.ir):
        shapes = [input_shape(decl, side, case.frame, 1) for side in decl.sides or (None,)]
        if max(math.prod(s) for s in shapes) > MOST_VALUES:
            continue
        values = tuple(_values(decl, shape, source) for shape in shapes)
        alike = len(values) == 1 or values[0].shape == values[1].shape
        found[decl.name] = values[0] if alike else _by_side(decl.sides, values)
    return found


def _by_side(sides: Sequence[Side], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Queries' values, then keys'."""
    return values if sides[0] is Side.Q else values[::-1]


def _values(decl: InputDecl, shape: Sequence[int], source: np.random.Generator) -> Any:
    match decl.kind:
        case Kind.BOOL:
            return source.random(shape) < 0.5
        case Kind.INT if decl.sorted:
            return np.sort(source.integers(0, 4000, shape), axis=-1)
        case Kind.INT:
            return source.integers(0, 4, shape)
        case Kind.FLOAT:
            return source.random(shape) * (-1 if decl.nonpositive else 1)


def run(only: Sequence[str] = ()) -> dict[str, Any]:
    """Every pattern of the standard library, without inputs and with those that decide.

    only: patterns whose names begin so. What is imported on the way is imported before.
    """
    load("stdlib:sliding_window").explain({"n": 4096})
    rows: list[dict[str, Any]] = []
    unsized = []
    for name in stdlib.names():
        if only and not name.startswith(tuple(only)):
            continue
        case = case_of(name)
        if case is None:
            unsized.append(name)
            continue
        given = drawn(case)
        for inputs in ({}, given) if given else ({},):
            seconds, processor = case.seconds(inputs)
            rows.append(
                {
                    "pattern": name,
                    "sizes": case.sizes,
                    "heads": case.heads,
                    "kv_heads": case.kv_heads,
                    "head_dim": case.head_dim,
                    "inputs": sorted(inputs),
                    "seconds": seconds,
                    "processor_s": processor,
                }
            )
    under = sum(r["seconds"] < TARGET for r in rows)
    return {"schema": SCHEMA, "target_s": TARGET, "under": under, "unsized": unsized, "rows": rows}


def table(result: Mapping[str, Any]) -> str:
    """The slowest, and how many are under the target."""
    slowest = sorted(result["rows"], key=lambda r: -r["seconds"])[:SLOWEST]
    lines = [f"{'slowest reports':26} {'seconds':>8} {'processor':>10}  at"]
    for row in slowest:
        at = " ".join(f"{axis}={n}" for axis, n in row["sizes"].items())
        given = f" with {', '.join(row['inputs'])}" if row["inputs"] else ""
        times = f"{row['seconds']:8.2f} {row['processor_s']:10.2f}"
        lines.append(f"{row['pattern']:26} {times}  {at} heads={row['heads']}{given}")
    count = len(result["rows"])
    lines += ["", f"{result['under']} of {count} reports in under {result['target_s']:g} s"]
    if result["unsized"]:
        lines.append(f"not sized: {', '.join(result['unsized'])}")
    return "\n".join(lines)
