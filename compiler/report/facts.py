"""What holds of a pattern at one size, and a concrete pair where something does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from attnlang.compiler.plan import facts as planned
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.report.relation import Relation
from attnlang.compiler.report.rows import Rows
from attnlang.compiler.sema.rows import attends_itself


@dataclass(frozen=True, slots=True)
class Witness:
    """A pair, by places in the sequence, at which a fact fails. key None: the query has none."""

    head: int
    query: int
    key: int | None


@dataclass(frozen=True, slots=True)
class Fact:
    """holds None: neither proved nor refuted. witness: where it fails, if it was found out."""

    name: str
    holds: bool | None
    witness: Witness | None = None


def facts(plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]) -> tuple[Fact, ...]:
    """rows_nonempty, causal, contiguous and int32; see :mod:`attnlang.compiler.plan.facts`."""
    longest = max(plan.problem.q_len, plan.problem.k_len)
    return (
        _rows_nonempty(plan, relations, rows),
        _causal(plan, relations, rows),
        Fact("contiguous", all(planned.contiguous(g) for g in plan.heads)),
        Fact("int32", plan.problem.heads * longest * 256 < 2**31),
    )


def _rows_nonempty(plan: Plan, relations: Sequence[Relation], rows: Sequence[Rows | None]) -> Fact:
    name, unknown = "rows_nonempty", False
    same = plan.problem.q_len == plan.problem.k_len
    for relation, found in zip(relations, rows, strict=True):
        if found is not None and (found.keys == 0).any():
            return Fact(name, False, Witness(relation.heads[0], int((found.keys == 0).argmax()), None))
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
            return Fact(name, False, Witness(relation.heads[0], query, int(found.last[query])))
        unknown = unknown or bool(late.any())
    return Fact(name, None if unknown else True)
