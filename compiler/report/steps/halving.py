"""What ``search halving`` and ``search centres`` ask: runs that are halved again and again."""

from __future__ import annotations

from collections.abc import Mapping

from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep
from attnlang.compiler.report.keys import rows_of
from attnlang.compiler.report.relation import relations
from attnlang.compiler.report.steps.amounts import top
from attnlang.compiler.report.steps.sets import Chosen


def asked(found: Chosen, made: BoundProgram) -> int:
    """Candidates whose scores one choice looks at, at most.

    Two halves of each of ``top`` runs in every round; there are as many rounds as it takes to halve
    all the candidates to no more than ``top``. All, where the data decide how many are chosen.
    """
    count, left, rounds = top(found.select.rule, made), found.k.size, 0
    if count is None:
        return left
    while count > 0 and left > count:
        rounds, left = rounds + 1, (left + 1) // 2
    return min(2 * count * rounds, found.k.size)


def scored_each(found: Chosen, step: BoundStep, made: BoundProgram) -> int | None:
    """Pairs of a query and a key that make one of these scores, for one head, at most; None where
    they were not counted."""
    select = found.select
    (key,) = step.keys.values()
    runs = Space(found.k.axes, key.side, False, key.heads)
    rows = Space(found.q.axes, step.query.side, False, step.query.heads)
    keys, queries = 1, 1
    if select.gather is not None:
        most = _most(select.gather.pattern, runs, {"keys": key}, made, of_keys=False)
        if most is None:
            return None
        keys = most
    if select.rows is not None:
        most = _most(select.rows.pattern, step.query, {"keys": rows}, made, of_keys=True)
        if most is None:
            return None
        queries = most
    return keys * queries


def runs_of_key(found: Chosen, step: BoundStep, made: BoundProgram) -> int:
    """Runs that gather a key's score, at most; as many as there are where they were not counted."""
    gather = found.select.gather
    assert gather is not None
    (key,) = step.keys.values()
    runs = Space(found.k.axes, key.side, False, key.heads)
    most = _most(gather.pattern, runs, {"keys": key}, made, of_keys=True)
    return found.k.size if most is None else most


def _most(
    pattern: PatternIR, query: Space, keys: Mapping[str, Space], made: BoundProgram, of_keys: bool
) -> int | None:
    """Keys of a query, or queries of a key, at most."""
    (relation,) = relations(made.bound(pattern, query, dict(keys), 1, 1, 1))
    rows = rows_of(relation.transposed() if of_keys else relation)
    return None if rows is None else int(rows.keys.max(initial=0))
