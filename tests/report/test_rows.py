"""The keys of every query, in closed form and by tiles, against the reference's mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings

from attnlang.compiler.report.dense import mask
from attnlang.compiler.report.keys import last_of, pairs_of, rows_of, solved_rows_of, tiled_rows
from attnlang.compiler.report.relation import relations
from attnlang.compiler.report.rows import Rows
from attnlang.planning import known
from tests.strategies import Program, programs

slow = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
Bools = npt.NDArray[np.bool_]


def agrees(rows: Rows, truth: Bools) -> None:
    """Rows say of a mask what plain loops say."""
    for q, line in enumerate(truth):
        keys = [k for k, attends in enumerate(line) if attends]
        assert rows.keys[q] == len(keys)
        assert rows.first[q] == (keys[0] if keys else truth.shape[1])
        assert rows.last[q] == (keys[-1] if keys else -1)
    assert rows.exact


def check(program: Program) -> None:
    problem = program.pattern.problem(program.sizes, program.heads, q_offset=program.q_offset)
    truth = program.mask()
    plan = program.plan()
    for relation, group in zip(
        relations(problem, known(problem, program.inputs)), plan.heads, strict=True
    ):
        here = truth[relation.heads[0]]
        assert np.array_equal(mask(relation), here)
        for found in (rows_of(relation), tiled_rows(plan, group)):
            assert found is not None
            agrees(found, here)
        assert pairs_of(relation) == here.sum()
        found_last = last_of(relation)
        assert found_last is not None
        assert found_last[1]
        assert np.array_equal(
            found_last[0], [max(np.flatnonzero(line), default=-1) for line in here]
        )
        turned = rows_of(relation.transposed())
        assert turned is not None
        agrees(turned, here.T)


@slow
@given(programs())
def test_sequences(program: Program) -> None:
    check(program)


@slow
@given(programs(axes=("y", "x"), longest=7))
def test_grids(program: Program) -> None:
    check(program)


@slow
@given(programs(runtime=True, segments=False))
def test_unknown_tensors_give_an_upper_bound(program: Program) -> None:
    problem = program.pattern.problem(program.sizes, program.heads, q_offset=program.q_offset)
    truth = program.mask()
    for relation in relations(problem):
        found = solved_rows_of(relation)
        if found is None:
            continue
        here = truth[relation.heads[0]]
        assert (found.keys >= here.sum(axis=1)).all()
        assert found.exact or not relation.evaluable
        for q, line in enumerate(here):
            keys = np.flatnonzero(line)
            assert not len(keys) or (found.first[q] <= keys[0] and keys[-1] <= found.last[q])


def test_usual_patterns_are_solved() -> None:
    """At these lengths a pair-by-pair count would not end."""
    from attnlang import load

    cases = [
        ("sliding_window", {"n": 1 << 18}, {"window": 1000, "sinks": 4}, 1),
        ("neighborhood_1d", {"n": 1 << 18}, {"window": 7, "dilation": 3, "stride": 2}, 1),
        ("longlora_s2", {"n": 1 << 18}, {}, 2),
        ("neighborhood_3d", {"t": 30, "y": 48, "x": 80}, {"window": (18, 24, 24)}, 1),
    ]
    for name, sizes, params, heads in cases:
        problem = load(f"stdlib:{name}", **params).problem(sizes, heads)
        for relation in relations(problem):
            found = solved_rows_of(relation)
            assert found is not None
            assert found.exact
