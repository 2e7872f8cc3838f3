"""One step of a program as a pattern of its own: over the axes of its queries and keys.

A step reads what the whole pattern declares, but its tokens may be others: ``k.b`` of pooled keys,
and no ``k.n``. What it cannot have is an error (AL309).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Side, SymbolName
from attnlang.compiler.ir.pattern import (
    Attend,
    HeadGroup,
    InputDecl,
    ParameterValue,
    PatternIR,
    Segment,
    map_clauses,
)
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.ir.values import literal
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.scope import Binding, TableName, TokenName
from attnlang.compiler.source import Span

Keys = Sequence[tuple[str, Space]]
"""The tensors that stand one behind the other as keys, by name."""


def stage(draft: Draft, query: Space, keys: Keys) -> Draft:
    """A draft in which ``q`` is a token of ``query`` and ``k`` one of ``keys``."""
    grid = next((i for i, (_, s) in enumerate(keys) if s.whole), len(keys) - 1)
    key = keys[grid][1]
    made = replace(draft, axes={Side.Q: query.axes, Side.K: key.axes}, groups=[])
    made.prefixes = [_run(name, "prefix") for name, _ in keys[:grid]]
    made.suffixes = []
    for segment in draft.segments:
        whole = [s for s, space in ((Side.Q, query), (Side.K, key)) if space.whole]
        sides = tuple(s for s, space in ((Side.Q, query), (Side.K, key)) if s in whole)
        origin = {Side.Q: query.side, Side.K: key.side}
        sides = tuple(s for s in sides if origin[s] in segment.sides)
        if not segment.is_grid and sides:
            here = made.prefixes if segment.place == "prefix" else made.suffixes
            here.append(replace(segment, sides=sides))
    made.suffixes += [_run(name, "suffix") for name, _ in keys[grid + 1 :]]
    made.inputs = [_rehomed(i, query, key) for i in (*draft.inputs, *draft.numbers)]
    names: dict[str, Binding] = {i.name: _binding(i) for i in made.inputs}
    segments = {s.name: s.sides for s in made.segments if not s.is_grid}
    made.ctx = replace(
        draft.ctx.with_names(**names), q_axes=query.axes, k_axes=key.axes, segments=segments
    )
    return made


def _run(name: str, place: str) -> Segment:
    return Segment(name, place, None, (Side.K,))  # type: ignore[arg-type]


def _rehomed(decl: InputDecl, query: Space, key: Space) -> InputDecl:
    """The input, as a token's where its axes are still those of a side, else as a table."""
    axes = tuple(d for d in decl.dims if d not in ("batch", "head"))
    spaces = ((Side.Q, query), (Side.K, key))
    return replace(
        decl, sides=tuple(s for s, x in spaces if x.axes == axes and x.side in decl.sides)
    )


def _binding(decl: InputDecl) -> Binding:
    if decl.sides:
        return TokenName(decl)
    return TableName(decl.name, decl.kind, sum(d != "batch" for d in decl.dims))


def step_pattern(
    inner: Draft, name: str, groups: Iterable[HeadGroup], sets: Iterable[InputDecl]
) -> PatternIR | None:
    """The step's pattern, or None where it reads what its tokens do not have (AL309)."""
    made = tuple(groups)
    good = True
    read: set[str] = set()
    for group in made:
        for clause in clauses(group.attend):
            good &= check_leaves(clause, inner, group.attend.span)
            read |= {x.name for x in walk(clause) if isinstance(x, e.TokenInput | e.Table)}
    if not good:
        return None
    inputs = tuple(i for i in (*inner.inputs, *sets) if i.name in read)
    values = dict(inner.values)
    made = tuple(_per_axis(g, values, inner.pattern_axes) for g in made)
    return PatternIR(
        f"{inner.pattern.name.id}.{name}",
        inner.declared,
        inner.values,
        inner.axes[Side.Q],
        inner.axes[Side.K],
        inner.segments,
        inputs,
        (),
        made,
        inner.meta,
    )


def clauses(attend: Attend) -> list[Expr]:
    found = (attend.where, attend.score, attend.scale, attend.sink, attend.gain)
    return [x for x in found if x is not None]


def check_leaves(root: Expr, inner: Draft, clause: Span) -> bool:
    """Does every token of the step have what is read of it?"""
    good = True
    for x in walk(root):
        match x:
            case e.Coord(side=side, axis=axis):
                known = (*inner.axes[side], *(s.name for s in inner.segments if side in s.sides))
                there = axis in known
            case e.TokenInput(side=side, name=name):
                there = any(i.name == name and side in i.sides for i in inner.inputs)
            case e.InSegment(side=side, segment=name):
                there = name == GRID or any(
                    s.name == name and side in s.sides for s in inner.segments
                )
            case _:
                continue
        if not there:
            good = False
            axes = ", ".join(inner.axes[side])
            word = "queries" if side is Side.Q else "keys"
            whole = inner.pattern.span
            here = x.span.source is whole.source and whole.start <= x.span.start < whole.end
            read = x.span.text if here and x.span.text else f"{side}.{getattr(x, 'axis', '...')}"
            inner.ctx.error(
                "AL309",
                x.span if here else clause,
                f"the {word} of this step lie on `{axes}`",
                read=read,
                help=f"a {word[:-1].replace('querie', 'query')} here has `{side}.{axes}`",
            )
    return good


def _per_axis(
    group: HeadGroup, values: dict[str, ParameterValue], axes: tuple[str, ...]
) -> HeadGroup:
    """Values for single axes of the whole pattern put in: a step's axes are others."""

    def rule(x: Expr) -> Expr | None:
        if not isinstance(x, e.Param) or x.axis is None or x.axis not in axes:
            return None
        value = values.get(x.name)
        if not isinstance(value, tuple):
            return None
        return literal(value[axes.index(x.axis)], x.kind)

    return map_clauses(group, lambda c: rewrite(c, rule))


def shifted(group: HeadGroup, start: Expr, values: dict[str, ParameterValue]) -> HeadGroup:
    """The group where its heads are counted from 0: ``head`` is then ``head + start``."""
    heads = e.Symbol(SymbolName.HEADS)
    rep = e.Arith("//", heads, e.Symbol(SymbolName.KV_HEADS))

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Symbol(name=SymbolName.HEAD):
                return e.Arith("+", x, start, span=x.span)
            case e.Symbol(name=SymbolName.KV_HEAD):
                return e.Arith("+", x, e.Arith("//", start, rep), span=x.span)
            case e.Table(name=name, kind=kind) if name in values:
                entries = values[name]
                if isinstance(entries, tuple) and len(entries) == 1:
                    return literal(entries[0], kind)
                return None
            case _:
                return None

    whole = replace(group, start=e.Int(0), stop=heads)
    return map_clauses(whole, lambda c: rewrite(c, rule))
