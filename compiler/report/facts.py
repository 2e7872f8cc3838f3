"""What holds of a pattern at one size, and a concrete pair where something does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from attnlang.compiler.layout.tiling import coordinate
from attnlang.compiler.plan import facts as planned
from attnlang.compiler.plan.crossing import segment_inputs, stays_within
from attnlang.compiler.plan.finding import Finding
from attnlang.compiler.plan.first_tile import first_tile_live
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.problem import Extent
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.rows import Rows
from attnlang.compiler.sema.rows import attends_itself

Coordinates: TypeAlias = tuple[tuple[str, int], ...]
"""Axis and coordinate, or the name of a prefix or suffix and the place in it."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A pair at which a fact fails. key None: the query has none.

    query, key: places in the sequence. query_at, key_at: the same as coordinates.
    """

    head: int
    query: int
    key: int | None
    query_at: Coordinates
    key_at: Coordinates


@dataclass(frozen=True, slots=True)
class Fact:
    """holds None: neither proved nor refuted. witness: where it fails, if it was found out."""

    name: str
    holds: bool | None
    witness: Witness | None = None


def facts(
    plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]
) -> tuple[Fact, ...]:
    """rows_nonempty: every query has a key. causal: no key after its query, by place in the
    sequence. first_tile_live: every query has a key in the first tile visited for it.
    within_NAME: no query attends a key of another segment, as the sorted input NAME numbers them.
    contiguous: every query tile visits one run or box of keys. int32: all offsets of
    ``[heads, tokens, 256]`` fit 32 bits.
    """
    longest = max(plan.problem.q_len, plan.problem.k_len)
    return (
        _rows_nonempty(plan, relations, rows),
        _causal(plan, relations, rows),
        *(
            _found(plan, relations, f"within_{name}", partial(stays_within, name=name))
            for name in segment_inputs(plan.problem.pattern)
        ),
        _found(plan, relations, "first_tile_live", first_tile_live),
        Fact("contiguous", all(_unbroken(g) for g in plan.heads)),
        Fact("int32", plan.problem.heads * longest * 256 < 2**31),
    )


def _unbroken(group: HeadPlan) -> bool:
    return planned.contiguous(group) if group.boxes is None else group.boxes.single is not None


def _found(
    plan: Plan,
    relations: Sequence[Relation],
    name: str,
    ask: Callable[[Plan, HeadPlan], Finding],
) -> Fact:
    """A fact of all groups of heads; refuted by the first that refutes it."""
    unknown = False
    for group in plan.heads:
        found = ask(plan, group)
        if found.holds is False:
            relation = next(x for x in relations if group.heads[0] in x.heads)
            assert found.query is not None
            return Fact(name, False, _witness(relation, found.query, found.key))
        unknown = unknown or found.holds is None
    return Fact(name, None if unknown else True)


def _rows_nonempty(plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]) -> Fact:
    name, unknown = "rows_nonempty", False
    same = planned.same_tokens(plan.problem)
    for relation, found in zip(relations, rows, strict=True):
        if found is not None and (found.keys == 0).any():
            return Fact(name, False, _witness(relation, int((found.keys == 0).argmax()), None))
        if found is None or not found.exact:
            itself = same and attends_itself(plan.problem.pattern, relation.where)
            unknown = unknown or not itself
    return Fact(name, None if unknown else True)


def _causal(plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]) -> Fact:
    name, unknown = "causal", False
    if plan.problem.q_len != plan.problem.k_len:
        return Fact(name, None)
    places = np.arange(plan.problem.q_len, dtype=np.int64)
    for relation, found in zip(relations, rows, strict=True):
        if found is None:
            unknown = True
            continue
        late = found.last > places
        if late.any() and found.exact:
            query = int(late.argmax())
            return Fact(name, False, _witness(relation, query, int(found.last[query])))
        unknown = unknown or bool(late.any())
    return Fact(name, None if unknown else True)


def _witness(relation: Relation, query: int, key: int | None) -> Witness:
    key_at = () if key is None else _coordinates(relation.k, key)
    return Witness(relation.heads[0], query, key, _coordinates(relation.q, query), key_at)


def _coordinates(side: Sequence[Extent], place: int) -> Coordinates:
    extent = next(x for x in side if x.start <= place < x.stop)
    inside = np.asarray(place - extent.start)
    return tuple((a, int(coordinate(extent, a, inside))) for a in extent.axes)
