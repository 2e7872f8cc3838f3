"""Run-time tensors that are one number: planned as if the number stood in the text."""

from __future__ import annotations

import numpy as np
import pytest

import attnlang

CALLED = """
pattern p:
    over n
    input length: int[batch]
    input hidden: bool[batch, n]
    attend where k.n < length or causal(n) and not k.hidden empty zero
"""
WRITTEN = """
pattern p:
    over n
    attend where k.n < 7000 or causal(n)
"""
N = 20_000


def test_a_length_of_the_call_is_solved_for() -> None:
    """Far more pairs than could be looked at one by one."""
    inputs = {"length": np.array([7000]), "hidden": np.zeros((1, N), bool)}
    called = attnlang.parse(CALLED).plan({"n": N}, **inputs)
    written = attnlang.parse(WRITTEN).plan({"n": N})
    assert called.exact
    assert called.pairs == written.pairs
    assert called.tiles == written.tiles


@pytest.mark.parametrize(
    "hidden", [[True] * 40, [False] * 40, [True] + [False] * 39, [False] * 39 + [True]]
)
@pytest.mark.parametrize("length", [-1, 0, 17, 40, 2**31 - 1])
def test_every_pair_is_counted(hidden: list[bool], length: int) -> None:
    pattern = attnlang.parse(CALLED)
    inputs = {"length": np.array([length]), "hidden": np.array([hidden])}
    truth = [sum(j < length or (j <= i and not hidden[j]) for j in range(40)) for i in range(40)]
    plan = pattern.plan({"n": 40}, tile=(16, 8), **inputs)
    assert plan.exact
    assert plan.pairs == sum(truth)


def test_what_is_no_number_stays_a_tensor() -> None:
    text = "pattern p:\n    over n\n    input x: float[n]\n    attend where k.x < 1.0 empty zero\n"
    plan = attnlang.parse(text).plan({"n": 9}, x=np.full(9, np.nan))
    assert plan.exact
    assert plan.pairs == 0
    assert attnlang.parse(text).plan({"n": 9}, x=np.full(9, -np.inf)).pairs == 81


@pytest.mark.parametrize(
    "read", ["flag[0, 0]", "flag[head, q.n // 64]", "flag[kv_head, k.n // 64]"]
)
@pytest.mark.parametrize("holds", [False, True])
def test_an_entry_at_a_fixed_place_is_a_number(read: str, holds: bool) -> None:
    """Where one block holds all tokens, its entry says whether all pairs attend, or none."""
    text = (
        f"pattern p:\n    over n\n    input flag: bool[1, 1]\n    attend where {read} empty zero\n"
    )
    plan = attnlang.parse(text).plan({"n": 9}, flag=np.array([[holds]]))
    assert plan.exact
    assert plan.pairs == (81 if holds else 0)


@pytest.mark.parametrize("n", [1, 5, 200])
@pytest.mark.parametrize("kept", [[True, False, False, True], [False] * 4, [True] * 4])
@pytest.mark.parametrize("place", ["keep[head, 1]", "keep[head, q.n * 0 + 1]", "keep[0, 3]"])
def test_entries_at_fixed_places(place: str, kept: list[bool], n: int) -> None:
    """Also of a table whose place only the length fixes; outside the table nothing is kept."""
    text = f"attend where {place} and causal(n) empty zero\n"
    pattern = attnlang.parse("pattern p:\n    over n\n    input keep: bool[head, 2]\n    " + text)
    keep = np.array(kept).reshape(2, 2)
    plan = pattern.plan({"n": n}, 2, keep=keep)
    assert plan.exact
    assert plan.pairs == (0 if place == "keep[0, 3]" else keep[:, 1].sum() * n * (n + 1) // 2)
