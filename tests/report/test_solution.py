"""The keys of a query, as the report writes them, are those that attend: read back by Python."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

import attnlang
from attnlang.compiler.report.solution import Solution, solutions
from attnlang.compiler.report.text import solution_lines

HEADER = "pattern p:\n    over n\n    attend where "
WRITTEN = {
    "true": "every key",
    "causal(n)": "0 <= k.n < min(len(n), q.n + 1)",
    "band(n, 4)": "max(0, q.n - 3) <= k.n < min(len(n), q.n + 1)",
    "same(n)": "k.n == q.n",
    "block(n, 4)": "4 * (q.n // 4) <= k.n < min(len(n), 4 * (q.n // 4) + 4)",
    "k.n < 2 or causal(n) and band(n, 3)": (
        "0 <= k.n < min(len(n), 2) or max(0, q.n - 2) <= k.n < min(len(n), q.n + 1)"
    ),
    "q.n % 3 == 1 and causal(n)": "0 <= k.n < min(len(n), q.n + 1) and q.n % 3 == 1",
}
OTHERS = (
    "q.n % 4 == k.n % 4",
    "causal(n) and (q.n < 3 or q.n > 7)",
    "k.n >= len(n) - 3",
    "same(n) and k.n < 5",
)


def solved(text: str, sizes: dict[str, int], heads: int = 1) -> tuple[Solution, ...]:
    return solutions(attnlang.parse(text).problem(sizes, heads))


@pytest.mark.parametrize("condition", WRITTEN)
def test_how_they_are_written(condition: str) -> None:
    (found,) = solved(HEADER + condition + "\n", {"n": 64})
    assert " or ".join(found.keys) == WRITTEN[condition]


def holds(keys: tuple[str, ...], lengths: dict[str, int], q: list[int], k: list[int]) -> bool:
    """Python reads what the report wrote."""
    tokens = {
        side: SimpleNamespace(**dict(zip(lengths, at, strict=True)))
        for side, at in (("q", q), ("k", k))
    }
    known = {"min": min, "max": max, "len": lambda n: n, "__builtins__": {}, **lengths, **tokens}
    return any(x == "every key" or eval(x, known) for x in keys)


@pytest.mark.parametrize("condition", [*WRITTEN, *OTHERS])
@pytest.mark.parametrize("length", [1, 10, 13])
def test_they_are_those_that_attend(condition: str, length: int) -> None:
    pattern = attnlang.parse(HEADER + condition + "\n")
    (found,) = solutions(pattern.problem({"n": length}))
    mask = pattern.mask({"n": length})[0].numpy()
    sizes = {"n": length}
    every = [[holds(found.keys, sizes, [i], [j]) for j in range(length)] for i in range(length)]
    assert np.array_equal(mask, np.array(every))


def test_grids() -> None:
    text = "pattern p:\n    over y, x\n    attend where block(y, 3) and q.x >= k.x\n"
    sizes = {"y": 7, "x": 4}
    (found,) = solved(text, sizes)
    mask = attnlang.parse(text).mask(sizes)[0].numpy()
    places = [list(at) for at in product(range(7), range(4))]
    every = [[holds(found.keys, sizes, q, k) for k in places] for q in places]
    assert np.array_equal(mask, np.array(every))


def test_groups_of_heads_are_told_apart() -> None:
    text = """pattern p:
    over n
    heads[:1]:
        attend where true
    heads[1:]:
        attend where causal(n)
"""
    found = solved(text, {"n": 64}, heads=4)
    assert list(solution_lines(found)) == [
        ("keys of a query", "head 0: every key"),
        ("", "heads 1 to 3: 0 <= k.n < min(len(n), q.n + 1)"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "(q.n - k.n) * (q.n - k.n) < 50\n",  # no interval
        HEADER + " or ".join(f"k.n == q.n - {7 * i}" for i in range(5)) + "\n",  # too many
        "pattern p:\n    over n\n    prefix cls\n    attend where q in cls or k in cls or causal(n)\n",
    ],
)
def test_what_is_not_said(text: str) -> None:
    sizes = {"n": 64, "cls": 2} if "cls" in text else {"n": 64}
    assert solved(text, sizes) == ()
