"""Three ways to evaluate a predicate agree: numpy tiles, torch tensors, and one pair at a time."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlang.backends.blocked.places import torch_ops
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import NUMPY, evaluate
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.scalar import FUNCTIONS, Number, value_of
from attnlang.compiler.ir.traverse import kind_of
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.problem.heads import at_head
from attnlang.compiler.problem.problem import Problem
from tests.compiler.expressions import floats, integers, leaf_values, truths
from tests.compiler.test_classification import LONGEST, SHAPES, truth
from tests.strategies import Program, programs

Bools = npt.NDArray[np.bool_]
quick = settings(max_examples=40, deadline=None)


def token_leaves(problem: Problem, program: Program, side: Side, place: int) -> dict[Expr, Number]:
    """Everything one token can say of itself."""
    known: dict[Expr, Number] = {e.Index(side): place}
    extent = next(x for x in problem.extents(side) if x.start <= place < x.stop)
    coordinates = np.unravel_index(place - extent.start, extent.lengths)
    for axis, at, origin in zip(extent.axes, coordinates, extent.origin, strict=True):
        known[e.Coord(side, axis)] = int(at) + origin
    for segment in problem.pattern.segments_of(side):
        known[e.InSegment(side, segment.name)] = segment == extent.segment
    if extent.segment.is_grid:
        for name, kind in (("doc", Kind.INT), ("flag", Kind.BOOL)):
            if name in program.inputs:
                value = program.inputs[name].reshape(-1)[place - extent.start]
                known[e.TokenInput(side, name, kind)] = value.item()
    return known


def one_by_one(problem: Problem, program: Program, head: int) -> Bools:
    """The mask of a head, pair after pair, by the definition of the arithmetic."""
    group = next(g for g in problem.groups if g.start <= head < g.stop)
    where = at_head(group.attend.where, head, problem)
    mask = np.zeros((problem.q_len, problem.k_len), dtype=bool)
    q = [token_leaves(problem, program, Side.Q, i) for i in range(problem.q_len)]
    k = [token_leaves(problem, program, Side.K, j) for j in range(problem.k_len)]
    for i, j in product(range(problem.q_len), range(problem.k_len)):
        found = value_of(where, {**q[i], **k[j]})
        assert isinstance(found, bool)
        mask[i, j] = found
    return mask


def all_at_once(plan: Plan, head: int) -> Bools:
    """The mask of a head by numpy, every token against every token."""
    problem = plan.problem
    where = next(g for g in plan.heads if head in g.heads).where
    q, k = np.arange(problem.q_len), np.arange(problem.k_len)
    return on_tokens(where, problem, plan.known, q, k)


@pytest.mark.parametrize("shape", SHAPES)
@quick
@given(data=st.data())
def test_masks_agree(shape: str, data: st.DataObject) -> None:
    longest = min(LONGEST[shape], 9) if shape == "line" else 3
    program = data.draw(programs(axes=SHAPES[shape], longest=longest))
    masks = truth(program)
    plan = program.plan()
    for head in range(program.heads):
        np.testing.assert_array_equal(masks[head], one_by_one(plan.problem, program, head))
        np.testing.assert_array_equal(masks[head], all_at_once(plan, head))


@settings(max_examples=300, deadline=None)
@given(st.one_of(integers(3), truths(3)), st.lists(leaf_values(), min_size=1, max_size=4))
def test_arrays_and_numbers_agree(x: Expr, points: list[dict[Expr, Number]]) -> None:
    """An expression over arrays is the expression at each of their places, in numpy and torch."""
    expected = [value_of(x, leaves) for leaves in points]
    if any(v is None for v in expected):
        return  # no value to agree on: beyond 64 bits, or a float that has no integer
    with np.errstate(all="ignore"):
        in_numpy = evaluate(x, lambda leaf: np.array([p[leaf] for p in points]), NUMPY)
    in_torch = evaluate(
        x, lambda leaf: torch.tensor([p[leaf] for p in points]), torch_ops(torch.float64)
    )
    for found in (in_numpy, in_torch):
        np.testing.assert_array_equal(np.broadcast_to(np.asarray(found), len(points)), expected)


@settings(max_examples=200, deadline=None)
@given(floats(2), leaf_values())
def test_floats_agree_to_rounding(x: Expr, leaves: dict[Expr, Number]) -> None:
    expected = value_of(x, leaves)
    if expected is None or math.isnan(expected):
        return
    with np.errstate(all="ignore"):
        found = float(evaluate(x, lambda leaf: np.asarray(leaves[leaf]), NUMPY))
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    assert kind_of(x) is Kind.FLOAT


@pytest.mark.parametrize("x", [-7, -1, 0, 1, 2, 3, 7, 8, 2**31, 2**49 - 1, 2**54 - 1, 2**61])
def test_ilog2_is_exact(x: int) -> None:
    expected = max(x, 1).bit_length() - 1
    assert FUNCTIONS["ilog2"](x) == expected
    assert NUMPY.functions["ilog2"](np.array([x]))[0] == expected
    assert torch_ops(torch.float64).functions["ilog2"](torch.tensor([x])).item() == expected


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        ("exp", 1000.0, math.inf), ("exp", -1000.0, 0.0), ("exp2", 1024.0, math.inf),
        ("exp2", -2000.0, 0.0), ("exp2", -0.5, 2.0**-0.5), ("exp2", math.inf, math.inf),
        ("log", 0.0, -math.inf), ("log", -1.0, -math.inf), ("log2", 8.0, 3.0), ("sqrt", -4.0, 0.0),
        ("sigmoid", -1000.0, 0.0), ("sigmoid", 1000.0, 1.0), ("tanh", 1000.0, 1.0),
    ],
)  # fmt: skip
def test_functions_are_total(function: str, x: float, expected: float) -> None:
    assert FUNCTIONS[function](x) == pytest.approx(expected, abs=1e-300)
    assert float(NUMPY.functions[function](np.array(x))) == pytest.approx(expected, abs=1e-300)
    at = torch.tensor(x, dtype=torch.float64)
    found = torch_ops(torch.float64).functions[function](at).item()
    assert found == pytest.approx(expected, abs=1e-300)


def test_numbers_divide_as_arrays_do() -> None:
    def quotient(a: float, b: float) -> float:
        return float(evaluate(e.Arith("/", e.Float(a), e.Float(b)), lambda _: None))

    assert quotient(1.0, 0.0) == math.inf
    assert quotient(-1.0, 0.0) == -math.inf
    assert math.isnan(quotient(0.0, 0.0))
