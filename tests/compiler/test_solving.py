"""Solving predicates for the key: clauses, bounds, growth, folds and shifts say what is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.analysis.monotone import corners_suffice, growth
from attnlang.compiler.analysis.normal import clauses, complement, open_extremes, reads
from attnlang.compiler.analysis.shift import shift_invariant
from attnlang.compiler.analysis.solve import Congruent, Fact, Lower, Opaque, RowOnly, Upper, solve
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.scalar import Number, value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.layout.aligned import box_layout
from attnlang.compiler.layout.folds import Whole, find_fold, members
from tests.compiler.expressions import COMPARISONS, integers, leaf_values, truths
from tests.compiler.test_classification import LONGEST, SHAPES, truth
from tests.strategies import programs

Q, K = e.Coord(Side.Q, "n"), e.Coord(Side.K, "n")
QUERY = (Q, Q, e.Index(Side.Q))
many = settings(max_examples=300, deadline=None)


def literals() -> st.SearchStrategy[Expr]:
    """Comparisons of the kind that predicates are made of."""
    atom = st.sampled_from([K, K, Q])
    small, divisor = st.integers(-9, 9).map(e.Int), st.integers(1, 5).map(e.Int)
    linear = st.builds(lambda c, x, d: _plus(_times(c, x), d), st.integers(-3, 3), atom, small)
    inner = st.one_of(
        linear,
        st.builds(lambda x, m: e.Arith("//", x, m), linear, divisor),
        st.builds(lambda x, m: e.Arith("%", x, m), linear, divisor),
        st.builds(lambda x, m: e.Apply("ceildiv", (x, m)), linear, divisor),
        st.builds(lambda x, y: e.Apply("min", (x, y)), linear, small),
        st.builds(lambda x, y: e.Apply("max", (x, y)), linear, small),
        st.builds(lambda x, y, z: e.Apply("clamp", (x, y, z)), linear, small, small),
        st.builds(lambda x, y: e.Apply("abs", (e.Arith("-", x, y),)), linear, linear),
    )
    scaled = st.builds(lambda c, x, y: _plus(_times(c, x), y), st.integers(-3, 3), inner, linear)
    nested = st.builds(lambda x, m: e.Arith("//", x, m), scaled, divisor)
    side = st.one_of(inner, scaled, nested, integers(1, QUERY))
    return st.builds(e.Compare, COMPARISONS, side, side)


def _times(c: int, x: Expr) -> Expr:
    return e.Arith("*", e.Int(c), x)


def _plus(x: Expr, y: Expr) -> Expr:
    return e.Arith("+", x, y)


def predicates() -> st.SearchStrategy[Expr]:
    several = st.lists(literals(), min_size=1, max_size=3)
    return st.one_of(
        truths(2),
        st.builds(lambda a, b: e.Or((e.And(tuple(a)), e.Not(e.And(tuple(b))))), several, several),
    )


@many
@given(predicates(), leaf_values())
def test_normal_forms_keep_the_truth(x: Expr, leaves: dict[Expr, Number]) -> None:
    value = value_of(x, leaves)
    assert isinstance(value, bool)
    assert value_of(open_extremes(x), leaves) is value
    assert value_of(complement(x), leaves) is not value
    for predicate, wanted in ((x, value), (complement(x), not value)):
        found = clauses(predicate)
        if found is not None:
            each = [all(value_of(literal, leaves) for literal in clause) for clause in found]
            assert any(each) is wanted


def holds(fact: Fact, leaves: dict[Expr, Number]) -> bool:
    key = leaves[K]
    match fact:
        case Lower(bound=bound):
            assert not reads(bound, Side.K)
            return key >= value_of(bound, leaves)
        case Upper(bound=bound):
            assert not reads(bound, Side.K)
            return key < value_of(bound, leaves)
        case Congruent(modulus=m, residue=r):
            return key % m == value_of(r, leaves)
        case RowOnly(condition=x) | Opaque(literal=x):
            return bool(value_of(x, leaves))


@many
@given(literals(), leaf_values(), st.integers(-30, 30), st.integers(-30, 30))
def test_solved_bounds_are_equivalent(x: Expr, leaves: dict[Expr, Number], q: int, k: int) -> None:
    leaves = {**leaves, Q: q, K: k}
    assert all(holds(f, leaves) for f in solve(x)) is value_of(x, leaves)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("k.n <= q.n", {Upper}),
        ("0 - 3 <= q.n - k.n", {Upper}),
        ("k.n // 4 == q.n // 4", {Lower, Upper}),
        ("k.n % 4 == q.n % 4", {Congruent}),
        ("(q.n - k.n) % 4 == 0", {Congruent}),
        ("(k.n + 2 * q.n + 3) % 4 == q.n % 8", {Congruent, RowOnly}),
        ("(q.n - 3 * k.n) % 4 == 0", {Opaque}),
        ("2 * k.n + 1 < q.n", {Upper}),
        ("q.n > 3", {RowOnly}),
        ("k.n * k.n < q.n", {Opaque}),
        ("k.n != q.n", {Opaque}),
    ],
)
def test_what_is_solved(text: str, facts: set[type]) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {text}\n")
    assert {type(f) for f in solve(pattern.ir.groups[0].attend.where)} == facts


@many
@given(integers(3, QUERY[:2]), st.integers(-20, 40))
def test_growth_is_a_bound(x: Expr, q: int) -> None:
    most = growth(x)
    here, there = value_of(x, {Q: q}), value_of(x, {Q: q + 1})
    if most is not None and here is not None and there is not None:
        assert 0 <= there - here <= most


def bounds() -> st.SearchStrategy[Expr]:
    """Ends of key intervals as windows, blocks and strides have them."""
    c, m = st.integers(-9, 12), st.integers(1, 6)
    here = c.map(lambda d: _plus(Q, e.Int(d)))
    cell = st.builds(
        lambda x, w, d: _plus(_times(w, e.Arith("//", x, e.Int(w))), e.Int(d)), here, m, c
    )
    slow = st.builds(lambda x, w: e.Arith("//", x, e.Int(w)), here, m)
    plain = st.one_of(here, cell, slow, c.map(e.Int))
    return st.one_of(
        plain,
        st.builds(lambda x, d: e.Apply("max", (x, e.Int(d))), plain, c),
        st.builds(lambda x, d: e.Apply("min", (x, e.Int(d))), plain, c),
        st.builds(lambda x, a, b: e.Apply("clamp", (x, e.Int(a), e.Int(b))), plain, c, c),
    )


@many
@given(
    st.lists(bounds(), max_size=2),
    st.lists(bounds(), max_size=2),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_corners_say_all_when_they_are_said_to(
    lowers: list[Expr], uppers: list[Expr], queries: int, keys: int
) -> None:
    """The union of the rows' intervals is one interval, from the first row's start to the last's end."""
    pattern = attnlang.parse("pattern p:\n    over n\n    attend where true\n")
    layout = box_layout(pattern.problem({"q.n": queries, "k.n": keys}), (1,), (1,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    if not corners_suffice(lowers, uppers, q, k):
        return
    low = [max([0, *(value_of(x, {Q: i}) for x in lowers)]) for i in range(queries)]
    high = [min([keys, *(value_of(x, {Q: i}) for x in uppers)]) for i in range(queries)]
    for first in range(queries):
        for last in range(first, queries):
            union = {j for i in range(first, last + 1) for j in range(low[i], high[i])}
            assert union == set(range(low[first], high[last]))


def test_corners_of_common_windows_are_proved() -> None:
    pattern = attnlang.parse("pattern p:\n    over n\n    attend where true\n")
    layout = box_layout(pattern.problem({"n": 64}), (8,), (8,))
    q, k = layout.q.extents[0], layout.k.extents[0]
    after = _plus(Q, e.Int(1))
    assert corners_suffice([], [after], q, k)  # causal
    assert corners_suffice([_plus(Q, e.Int(-7))], [after], q, k)  # a causal window
    block = _times(8, e.Arith("//", Q, e.Int(8)))
    assert corners_suffice([block], [after], q, k)  # causal inside blocks
    assert not corners_suffice([_times(2, Q)], [_plus(_times(2, Q), e.Int(1))], q, k)  # gaps
    assert not corners_suffice([e.Neg(Q)], [after], q, k)  # an end that moves back


@many
@given(predicates(), st.integers(-6, 6), st.integers(-6, 6))
def test_shift_invariance_is_never_claimed_falsely(x: Expr, by_q: int, by_k: int) -> None:
    only = [n for n in _leaves(x) if not isinstance(n, e.Coord)]
    if not shift_invariant(x, by_q, by_k):
        return
    assert not only, "a predicate that reads run-time tensors was called invariant"
    for q in range(-9, 10):
        for k in range(-9, 10):
            here = value_of(x, {Q: q, K: k})
            assert value_of(x, {Q: q + by_q, K: k + by_k}) is here


def _leaves(x: Expr) -> list[Expr]:
    return [n for n in walk(x) if isinstance(n, e.TokenInput | e.Index | e.Table | e.Coord)]


@pytest.mark.parametrize(
    ("text", "by", "invariant"),
    [
        ("0 <= q.n - k.n < 8", (4, 4), True),
        ("0 <= q.n - k.n < 8", (4, 8), False),
        ("q.n // 8 == k.n // 8", (8, 8), True),
        ("q.n // 8 == k.n // 8", (4, 4), False),
        ("(q.n - k.n) % 6 == 1", (2, 8), True),
        ("k.n < 4 or k.n <= q.n", (4, 4), False),
        ("k.n <= q.n // 8 * 8 + 3", (16, 16), True),
        ("q.doc == k.doc", (4, 4), False),
        ("q.index == k.index", (4, 4), False),
    ],
)
def test_shifts_of_common_patterns(text: str, by: tuple[int, int], invariant: bool) -> None:
    pattern = attnlang.parse(
        f"pattern p:\n    over n\n    input doc: int[n]\n    attend where {text} empty zero\n"
    )
    problem = pattern.problem({"n": 64})
    assert shift_invariant(problem.groups[0].attend.where, *by) is invariant


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_folds_separate_every_pair(shape: str, data: st.DataObject) -> None:
    """Where an axis is folded, no query attends a key of another class."""
    axes = SHAPES[shape]
    program = data.draw(programs(axes=axes, longest=LONGEST[shape], runtime=False, segments=False))
    assume(set(program.sizes) == set(axes))  # classes of unlike sides do not correspond
    masks = truth(program)
    lengths = [program.sizes[a] for a in axes]
    for group in program.plan().heads:
        found = clauses(group.where)
        for axis, name in enumerate(axes):
            fold = find_fold(name, found or ())
            if isinstance(fold, Whole):
                continue
            classes = np.empty(lengths[axis], dtype=np.int64)
            for number, row in enumerate(members(fold, lengths[axis])):
                classes[row[row >= 0]] = number
            queries, keys = np.nonzero(masks[group.heads[0]])
            of_query, of_key = (np.unravel_index(x, lengths)[axis] for x in (queries, keys))
            assert (classes[of_query] == classes[of_key]).all()


def test_blocks_that_are_not_aligned_do_not_fold() -> None:
    """Each block attends the block before it: no pair lies inside one block."""
    pattern = attnlang.parse(
        "pattern p:\n    over n\n    attend where q.n // 4 == (k.n + 4) // 4\n"
    )
    assert isinstance(find_fold("n", clauses(pattern.ir.groups[0].attend.where) or ()), Whole)
    assert pattern.plan({"n": 16}).pairs == pattern.mask({"n": 16}).sum() == 48
