"""Bounds with symbolic lengths, evaluated at several lengths, against masks and numeric plans."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings

import attnlang
from attnlang.compiler.analysis.key_intervals import clause_bounds, row_edges
from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.analysis.normal import clauses
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.plan.bounds import KeyBox, key_boxes
from attnlang.compiler.problem.bind import bind
from tests.layout.test_boxes import problems


def number(x: Expr, leaves: dict[Expr, int]) -> int:
    value = value_of(x, leaves)
    assert value is not None, x
    return int(value)


def mask_of(
    boxes: tuple[KeyBox, ...],
    axes: tuple[str, ...],
    q_lengths: tuple[int, ...],
    k_lengths: tuple[int, ...],
    more: dict[Expr, int] | None = None,
) -> np.ndarray:
    """``[queries, keys]``: the union of the boxes, read as the formulas say."""
    leaves: dict[Expr, int] = dict(more or {})
    for a, nq, nk in zip(axes, q_lengths, k_lengths, strict=True):
        leaves |= {e.Length(Side.Q, a): nq, e.Length(Side.K, a): nk}
    rows = []
    for query in itertools.product(*map(range, q_lengths)):
        at = leaves | {e.Coord(Side.Q, a): x for a, x in zip(axes, query, strict=True)}
        row = np.zeros(k_lengths, dtype=bool)
        for box in boxes:
            if number(box.condition, at):
                lines = []
                for a, n in zip(axes, k_lengths, strict=True):
                    i = box.axis(a)
                    low, high, residue = (number(x, at) for x in (i.lower, i.upper, i.residue))
                    assert low >= 0
                    assert high <= n
                    lines.append([k for k in range(low, high) if k % i.step == residue])
                row[np.ix_(*lines)] = True
        rows.append(row.ravel())
    return np.array(rows)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_formulas_at_many_lengths_are_the_mask(problem: tuple[str, dict[str, int]]) -> None:
    text, sizes = problem
    pattern = attnlang.parse(text)
    boxes = key_boxes(pattern.ir)
    assume(boxes is not None)
    assert boxes is not None
    for more in (0, 1, 4):
        longer = {a: n + more for a, n in sizes.items()}
        lengths = tuple(longer.values())
        mask = pattern.mask(longer)[0].numpy()
        assert np.array_equal(mask_of(boxes, tuple(longer), lengths, lengths), mask)


SOLVED = (
    "causal(n)",
    "band(n, 4)",
    "near(n, 5)",
    "near(n, 5, 3)",
    "near(n, 5, 1, 1, true)",
    "near(n, 4, 2, 1, false, truncate)",
    "block(n, 5)",
    "q.n % 4 == k.n % 4",
    "near(n, 5, 1, 3)",
    "k.n < 2 or band(n, 3)",
    "k.n >= len(n) - 3 or causal(n) and k.n // 4 == q.n // 4",
    "q.n % 3 == 1 and causal(n)",
)


@pytest.mark.parametrize("condition", SOLVED)
@pytest.mark.parametrize("length", [11, 16, 33])
def test_common_predicates_are_solved(condition: str, length: int) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    boxes = key_boxes(pattern.ir)
    assert boxes is not None
    mask = pattern.mask({"n": length})[0].numpy()
    assert np.array_equal(mask_of(boxes, ("n",), (length,), (length,)), mask)


@pytest.mark.parametrize("condition", ["causal(n)", "near(n, 9)", "near(n, 8, 2)", "block(n, 5)"])
@pytest.mark.parametrize("length", [17, 300, 1001])
def test_formulas_equal_the_numeric_plan(condition: str, length: int) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    boxes = key_boxes(pattern.ir)
    assert boxes is not None
    problem = bind(pattern.ir, {"n": length})
    layout = box_layout(problem, (64,), (64,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    found = clauses(problem.groups[0].attend.where)
    assert found is not None
    solved = [clause_bounds(c, q, k, Known()) for c in found]
    numeric: dict[int, list[tuple[int, int]]] = {i: [] for i in range(length)}
    for bounds in solved:
        assert bounds is not None
        low, high = row_edges(bounds, q, k, Known())
        for i in range(length):
            if high[i] > low[i]:
                numeric[i].append((int(low[i]), int(high[i])))
    both: dict[Expr, int] = {e.Length(s, "n"): length for s in Side}
    for i in range(length):
        at = both | {e.Coord(Side.Q, "n"): i}
        ends = [(number(b.axis("n").lower, at), number(b.axis("n").upper, at)) for b in boxes]
        assert sorted({p for p in ends if p[0] < p[1]}) == sorted(set(numeric[i]))


@pytest.mark.parametrize(("queries", "keys"), [(7, 12), (12, 7), (1, 9)])
def test_sides_of_unlike_length(queries: int, keys: int) -> None:
    text = (
        "pattern p:\n    over n\n"
        "    attend where k.n <= q.n + len(k.n) - len(q.n) and k.n > q.n - len(q.n) // 2\n"
    )
    pattern = attnlang.parse(text)
    boxes = key_boxes(pattern.ir)
    assert boxes is not None
    truth = [
        [k <= q + keys - queries and k > q - queries // 2 for k in range(keys)]
        for q in range(queries)
    ]
    assert np.array_equal(mask_of(boxes, ("n",), (queries,), (keys,)), np.array(truth))


def test_parameters_and_the_head_stay_symbols() -> None:
    text = (
        "pattern p(w: int = 3):\n    over n\n"
        "    attend where causal(n) and q.n - k.n < w * (head + 1)\n"
    )
    boxes = key_boxes(attnlang.parse(text).ir, keep=("w",))
    assert boxes is not None
    w = e.Param("w", Kind.INT)
    assert w in set(walk(boxes[0].axis("n").lower))
    for width, head in ((2, 0), (3, 2), (9, 1)):
        truth = [[0 <= q - k < width * (head + 1) for k in range(20)] for q in range(20)]
        made = mask_of(boxes, ("n",), (20,), (20,), {w: width, e.Symbol(SymbolName.HEAD): head})
        assert np.array_equal(made, np.array(truth))


def test_no_answer_rather_than_a_wrong_one() -> None:
    for condition in ("q.n * k.n % 7 == 1", "k.n % 2 == q.n % 2 and k.n % 3 == q.n % 3"):
        pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
        assert key_boxes(pattern.ir) is None
