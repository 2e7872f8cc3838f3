"""Random patterns: source text with the sizes, heads and run-time tensors to call it with.

The texts are of the kind people write (windows, blocks, residues, distances, documents, prefixes)
joined and nested at random, and now and then any comparison of any integer expressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.plan.plan import Plan

Ints = npt.NDArray[np.int64]
Draw = st.DrawFn
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Program:
    """One pattern and one call of it. ``inputs`` have a batch axis of 1.

    lines: the declarations. table: values of the per-head parameter ``w``, if there is one.
    rule: for empty rows. options: further clauses of the ``attend``.
    """

    lines: tuple[str, ...]
    where: str
    sizes: dict[str, int]
    heads: int = 1
    q_offset: int = 0
    table: tuple[int, ...] = ()
    rule: str = ""
    options: tuple[str, ...] = ()
    inputs: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        shown = ", ".join(map(str, self.table))
        default = f"({shown})" if len(self.table) > 1 else shown
        parameters = f"(w: int[head] = {default})" if self.table else ""
        rule = f" empty {self.rule}" if self.rule else ""
        body = [f"    {line}" for line in (*self.lines, f"attend where {self.where}{rule}")]
        more = [f"        {option}" for option in self.options]
        return "\n".join((f"pattern p{parameters}:", *body, *more, ""))

    @cached_property
    def pattern(self) -> attnlang.Pattern:
        return attnlang.parse(self.text)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.as_tensor(value) for name, value in self.inputs.items()}

    def mask(self) -> npt.NDArray[np.bool_]:
        """The reference backend's truth ``[heads, Nq, Nk]``."""
        made = self.pattern.mask(self.sizes, self.heads, q_offset=self.q_offset, **self.tensors)
        found = made.numpy().reshape(-1, *made.shape[-2:])
        return np.broadcast_to(found, (self.heads, *found.shape[1:]))

    def plan(self, tile: Any = None, *, inputs: bool = True) -> Plan:
        given = self.tensors if inputs else {}
        return self.pattern.plan(self.sizes, self.heads, tile=tile, q_offset=self.q_offset, **given)

    def __repr__(self) -> str:
        shown = {name: value.tolist() for name, value in self.inputs.items()}
        return (
            f"Program(sizes={self.sizes}, heads={self.heads}, q_offset={self.q_offset}, "
            f"inputs={shown})\n{self.text}"
        )


# -- integer expressions --------------------------------------------------------------------------


@dataclass(frozen=True)
class Names:
    """What a program may read: axes with their lengths, and ``doc``, ``flag``, ``w`` if there."""

    lengths: dict[str, int]
    doc: bool = False
    flag: bool = False
    table: bool = False

    @property
    def axes(self) -> list[str]:
        return list(self.lengths)


def _number(draw: Draw, low: int, high: int) -> str:
    return str(draw(st.integers(low, high)))


def integer(draw: Draw, names: Names, depth: int) -> str:
    """Any integer expression over the pair."""
    longest = max(names.lengths.values())
    axis = draw(st.sampled_from(names.axes))
    if depth == 0:
        leaves = [f"q.{axis}", f"k.{axis}", f"q.{axis}", f"k.{axis}", f"len({axis})", "head"]
        leaves += [_number(draw, -3, longest + 3), "q.index", "k.index"]
        leaves += ["q.doc", "k.doc"] * names.doc + ["w[head]"] * names.table
        return draw(st.sampled_from(leaves))
    a = integer(draw, names, depth - 1)
    b = integer(draw, names, depth - 1)
    m = _number(draw, 1, max(longest, 2))
    forms = [
        f"({a} + {b})", f"({a} - {b})", f"({a} - {b})", f"-({a})", f"{m} * ({a})", f"({a}) // {m}",
        f"({a}) % {m}", f"min({a}, {b})", f"max({a}, {b})", f"abs({a})", f"ceildiv({a}, {m})",
        f"clamp({a}, {_number(draw, -2, 4)}, {b})", f"ilog2({a})", f"pow2(({a}) % 6)",
        f"({a} if {a} < {b} else {m})", f"({a}) // max({b}, 1)", f"({a}) % max({b}, 2)",
        f"floor(float({a}) / {m}.0)", f"int({a} <= {b})",
    ]  # fmt: skip
    return draw(st.sampled_from(forms))


def comparison(draw: Draw, names: Names) -> str:
    a, b = (integer(draw, names, draw(st.integers(0, 2))) for _ in range(2))
    return f"{a} {draw(st.sampled_from(COMPARISONS))} {b}"


# -- predicates -----------------------------------------------------------------------------------


def on_axis(draw: Draw, axis: str, length: int) -> str:
    """A relation of the two coordinates of one axis."""
    q, k = f"q.{axis}", f"k.{axis}"
    a, b = draw(st.integers(0, length)), draw(st.integers(1, max(length, 2)))
    offset = draw(st.integers(-3, 5))
    stride = draw(st.integers(1, 4))
    dilation = draw(st.integers(1, 3))
    count = draw(st.integers(1, max(length // dilation, 1)))
    near = f"near({axis}, {count}, {min(stride, count)}, {dilation}"
    edge = draw(st.sampled_from(["clamp", "truncate", "wrap"]))
    causal = draw(st.sampled_from(["false", "true"]))
    forms = [
        f"{k} <= {q}", f"{k} < {q}", f"{k} >= {q}", f"{q} == {k}", f"{k} < {a}", f"{q} >= {a}",
        f"0 <= {q} - {k} < {b}", f"-{a} < {q} - {k} <= {offset}", f"abs({q} - {k}) <= {a}",
        f"{q} // {b} == {k} // {b}", f"({q} - {offset}) // {b} == ({k} - {offset}) // {b}",
        f"({q} + {b}) // {b} == ({k} + {offset}) // {b}", f"{q} % {b} == ({k} + {offset}) % {b}",
        f"{k} // {b} <= {q} // {b}", f"{k} // {b} < {q} // {b} + {a}", f"{k} % {b} == {q} % {b}",
        f"({q} - {k}) % {b} == {offset}", f"{k} % {b} < {a}", f"{k} // {b} % 2 == {q} // {b} % 2",
        f"{k} <= {q} // {b} * {b} + {a}", f"max({q}, {k}) < {a}", f"min({q}, {k}) < {a}",
        f"{k} < max({q} - {a}, {offset})", f"{k} >= clamp({q} - {a}, 0, len({axis}) - {b})",
        f"{k} < ceildiv({q} + 1, {b}) * {b}", f"2 * {k} <= {q} + {offset}", f"{q} + {k} < {b}",
        f"ilog2({q} - {k} + 1) * {b} < {a}", f"block({axis}, {b}, {offset})", f"grid({axis}, {b})",
        f"halo({axis}, {b}, {a})", f"within({axis}, {a})", f"window({axis}, {a}, {stride})",
        f"{near})" if count * dilation <= length else "true",
        f"{near}, causal={causal}, edge={edge})" if count * dilation <= length else "false",
    ]  # fmt: skip
    return draw(st.sampled_from(forms))


def atom(draw: Draw, names: Names) -> str:
    axis = draw(st.sampled_from(names.axes))
    forms: list[Callable[[], str]] = [
        lambda: on_axis(draw, axis, names.lengths[axis]),
        lambda: on_axis(draw, axis, names.lengths[axis]),
        lambda: on_axis(draw, axis, names.lengths[axis]),
        lambda: comparison(draw, names),
        lambda: f"head % 2 == {_number(draw, 0, 1)}",
        lambda: f"k.index {draw(st.sampled_from(COMPARISONS))} q.index",
    ]
    if len(names.axes) > 1:
        forms.append(lambda: _across(draw, names))
    if names.doc:
        op = draw(st.sampled_from(("==", "==", *COMPARISONS)))
        forms += [lambda: f"q.doc {op} k.doc", lambda: f"k.doc {op} {_number(draw, 0, 3)}"]
    if names.flag:
        forms += [lambda: "k.flag", lambda: "q.flag or k.flag", lambda: "not q.flag"]
    if names.table:
        forms.append(lambda: f"abs(q.{axis} - k.{axis}) < w[head]")
    return draw(st.sampled_from(forms))()


def _across(draw: Draw, names: Names) -> str:
    """A relation of several axes at once."""
    a, b = draw(st.permutations(names.axes))[:2]
    r = draw(st.integers(0, 9))
    forms = [
        f"q.{a} == k.{b}", f"q.{a} + q.{b} >= k.{a}", f"k.{b} <= q.{a}",
        f"abs(q.{a} - k.{a}) + abs(q.{b} - k.{b}) <= {r}",
        f"(q.{a} - k.{a}) * (q.{a} - k.{a}) + (q.{b} - k.{b}) * (q.{b} - k.{b}) <= {r}",
        f"max(abs(q.{a} - k.{a}), abs(q.{b} - k.{b})) <= {r}", f"(k.{a} + k.{b}) % 2 == {r % 2}",
    ]  # fmt: skip
    return draw(st.sampled_from(forms))


def predicate(draw: Draw, names: Names, depth: int) -> str:
    if depth == 0:
        return atom(draw, names)
    a, b = predicate(draw, names, depth - 1), predicate(draw, names, depth - 1)
    forms = [f"({a} and {b})", f"({a} and {b})", f"({a} or {b})", f"not ({a})", a]
    forms.append(f"({a} if {atom(draw, names)} else {b})")
    return draw(st.sampled_from(forms))


# -- whole programs -------------------------------------------------------------------------------


@st.composite
def programs(
    draw: Draw,
    *,
    axes: tuple[str, ...] = ("n",),
    longest: int = 40,
    runtime: bool = True,
    segments: bool = True,
    depth: int = 2,
) -> Program:
    """A pattern over ``axes``; with ``runtime`` tensors and prefix ``segments`` now and then.

    Without tensors, queries and keys may have lengths of their own, and queries begin late.
    """
    lengths = {a: draw(st.integers(1, longest)) for a in axes}
    tokens = int(np.prod(list(lengths.values())))
    heads = draw(st.integers(1, 3))
    table = draw(st.booleans())
    doc = runtime and draw(st.booleans())
    flag = runtime and draw(st.booleans())
    names = Names(lengths, doc, flag, table)
    where = predicate(draw, names, draw(st.integers(0, depth)))
    sizes = dict(lengths)
    lines = [f"over {', '.join(axes)}"]
    inputs: dict[str, npt.NDArray[Any]] = {}
    if segments and draw(st.integers(0, 3)) == 0:
        where, more = _with_segments(draw, where)
        lines += more
    if doc:
        ordered = draw(st.booleans())
        dims = ", ".join(("batch", *axes))
        lines.append(f"input doc: int[{dims}]{' sorted' * ordered}")
        ids = [draw(st.integers(0, 3)) for _ in range(tokens)]
        # Flagged sorted and not: the promise is checked, never believed.
        ids = sorted(ids) if draw(st.booleans()) else ids
        inputs["doc"] = np.array(ids, dtype=np.int64).reshape(1, *lengths.values())
    if flag:
        lines.append(f"input flag: bool[{', '.join(('batch', *axes))}]")
        bits = [draw(st.booleans()) for _ in range(tokens)]
        inputs["flag"] = np.array(bits).reshape(1, *lengths.values())
    offset = 0
    if not inputs and draw(st.integers(0, 3)) == 0:
        sizes = {f"{s}.{a}": draw(st.integers(1, longest)) for s in "qk" for a in axes}
        offset = draw(st.integers(0, longest))
    values = tuple(draw(st.integers(0, 9)) for _ in range(heads)) if table else ()
    rule = "zero" if inputs else ""
    return Program(tuple(lines), where, sizes, heads, offset, values, rule, (), inputs)


def _with_segments(draw: Draw, where: str) -> tuple[str, list[str]]:
    """The predicate among grid tokens, and another rule for tokens before or after them."""
    count = draw(st.integers(0, 5))
    place = draw(st.sampled_from(["prefix", "suffix"]))
    c = draw(st.integers(0, 4))
    inside = f"(q in grid and k in grid and ({where}))"
    forms = [
        f"q in cls or k in cls or ({where})",
        f"{inside} or (q in cls and k in cls and k.cls <= q.cls)",
        f"{inside} or (k in cls and k.cls < {c})",
        f"{inside} or (q in cls and q.cls % 2 == 1)",
        f"{inside} or (q in cls and k.index < {c} and k in grid)",
    ]
    return draw(st.sampled_from(forms)), [f"{place} cls: {count}"]


@st.composite
def tiles(draw: Draw, program: Program) -> Any:
    """Tile extents for both sides, rectangular and ragged ones too."""
    problem = program.pattern.problem(program.sizes, program.heads)
    grids = [next(x for x in side if x.segment.is_grid) for side in (problem.q, problem.k)]
    q, k = (draw(st.tuples(*(st.integers(1, max(2, n)) for n in g.lengths))) for g in grids)
    lengths = grids[0].lengths
    return (q[0], k[0]) if len(lengths) == 1 else (q, k)


def decoding(program: Program, queries: int, offset: int) -> Program:
    """The same pattern asked for some queries alone, as in a decode step (no run-time tensors)."""
    sizes = {**program.sizes, "q.n": queries}
    return replace(program, sizes=sizes, q_offset=offset, inputs={})
