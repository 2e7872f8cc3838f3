"""A few queries against a long cache, where keys lie at a step: boxes of their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attnlang
from attnlang.compiler.analysis.token_pairs import on_tokens
from attnlang.compiler.plan.make import make
from tests.layout.test_boxes import check_table

STEPPED = {
    "a dilated window": "near(n, 31, dilation=128, causal=true)",
    "a residue of the past": "causal(n) and (q.n - k.n) % 32 == 0",
    "a column of the past": "causal(n) and k.n % 32 == 5",
}
BOTH = "causal(n) and (band(n, 40) or (q.n - k.n) % 16 == 0)"


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("name", STEPPED)
def test_keys_between_are_not_read(name: str, queries: int) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {STEPPED[name]}\n")
    length = 5000
    problem = pattern.problem({"q.n": queries, "k.n": length}, q_offset=length - queries)
    plan = make(problem)
    (group,) = plan.heads
    assert group.boxes is not None
    q, k = (np.arange(n)[None] for n in (queries, length))
    check_table(group.boxes, on_tokens(group.where, problem, plan.known, q, k)[0])
    assert plan.visited < 64 * (plan.pairs + 16 * queries)


def test_what_is_nearly_all_keys_is_read_once_for_all_queries() -> None:
    pattern = attnlang.parse("pattern p:\n    over n\n    attend where (q.n - k.n) % 2 == 0\n")
    plan = make(pattern.problem({"q.n": 9, "k.n": 5000}, q_offset=4991))
    assert plan.visited < 2 * 16 * 5120


@pytest.mark.parametrize("backend", ["blocked", "triton"])
@pytest.mark.parametrize("where", [*STEPPED.values(), BOTH])
@pytest.mark.parametrize(("queries", "offset"), [(1, 299), (5, 100)])
def test_executors_decode(where: str, queries: int, offset: int, backend: str) -> None:
    where = where.replace("128", "16")
    pattern = attnlang.parse(
        f"pattern p:\n    over n\n    attend where {where}\n        empty zero\n"
    )
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, queries, 16, generator=generator)
    k, v = (torch.randn(2, 2, 300, 16, generator=generator) for _ in range(2))
    expected = pattern.compile("reference")(q, k, v, q_offset=offset)
    found = pattern.compile(backend)(q, k, v, q_offset=offset)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
