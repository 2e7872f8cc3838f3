"""Keys that come back after a period: described once, and every statement about them true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.layout import choose
from attnlang.compiler.report.keys import solved_rows_of
from attnlang.compiler.report.relation import relations
from tests.layout.test_boxes import check_table
from tests.report.test_rows import agrees

slow = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)


@st.composite
def combs(draw: st.DrawFn) -> tuple[str, int]:
    """Every so many keys a run of them, between bounds, beside intervals or nothing."""
    block, stride = draw(st.just(1) | st.integers(1, 30)), draw(st.integers(2, 40))
    phase = draw(st.integers(0, stride * block - 1))
    columns = draw(
        st.sampled_from(
            (
                f"(k.n + {phase}) // {block} % {stride} == 0",
                f"(k.n + {phase}) % {block * stride} < {block}",
                f"k.n // {block} % {stride} == {stride - 1}",
            )
        )
    )
    bound = draw(
        st.sampled_from(("causal(n)", "true", f"k.n >= q.n - {phase}", f"within(n, {11 + phase})"))
    )
    width = draw(st.integers(1, 60))
    beside = draw(
        st.sampled_from(
            (
                "false",
                f"causal(n) and q.n // {block} - k.n // {block} < {width}",
                f"within(n, {width})",
                f"k.n < {width}",
                f"k.n < {width} or band(n, {width})",
                f"abs(q.n - k.n - 40) < {width}",
            )
        )
    )
    condition = f"{bound} and {columns} or {beside}"
    return f"pattern p:\n    over n\n    attend where {condition}\n", draw(st.integers(20, 400))


@slow
@given(combs(), st.sampled_from([2, 256]))
def test_combs_equal_brute_force(case: tuple[str, int], solved: int) -> None:
    """solved: the length beyond which keys are solved for; shorter axes are enumerated."""
    text, length = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "SOLVED", solved)
        pattern = attnlang.parse(text)
        plan = pattern.plan({"n": length})
    truth = pattern.mask({"n": length})[0].numpy()
    assert plan.pairs == truth.sum()
    (group,) = plan.heads
    if group.boxes is not None:
        check_table(group.boxes, truth)
    table = group.table.dense() > 0
    assert np.array_equal(group.columns.dense() > 0, table.T)
    tiles = [x.tokens for x in (plan.layout.q, plan.layout.k)]
    for i, j in np.ndindex(table.shape):
        inside = truth[np.ix_(*(t[m][t[m] >= 0] for t, m in zip(tiles, (i, j), strict=True)))]
        assert table[i, j] == inside.any()


@slow
@given(combs())
def test_rows_of_combs(case: tuple[str, int]) -> None:
    text, length = case
    pattern = attnlang.parse(text)
    truth = pattern.mask({"n": length})[0].numpy()
    (relation,) = relations(pattern.problem({"n": length}))
    for found, expected in (
        (solved_rows_of(relation), truth),
        (solved_rows_of(relation.transposed()), truth.T),
    ):
        assert found is not None
        agrees(found, expected)


@pytest.mark.parametrize("bound", ["within(n, 30)", "k.n >= q.n", "k.n > q.n // 8 * 8", "true"])
@pytest.mark.parametrize("length", [40, 100, 250])
def test_keys_at_a_step_of_short_sequences(bound: str, length: int) -> None:
    """Strips with unlike numbers of keys, the last key of the sequence among them."""
    text = (
        f"pattern p:\n    over n\n    attend where k.n % 3 == 0 and {bound}\n        empty zero\n"
    )
    pattern = attnlang.parse(text)
    truth = pattern.mask({"n": length})[0].numpy()
    (group,) = pattern.plan({"n": length}).heads
    assert group.boxes is not None
    check_table(group.boxes, truth)


COLUMNS = "causal(n) and (q.n - k.n < 40 or k.n // 16 % 5 == 2)"
ALONE = "k.n // 16 % 5 == 2 or k.n == 0"
SINGLE = "causal(n) and (q.n - k.n < 40 or k.n % 32 == 5)"
CLOSE = "k.n % 3 == 1 or within(n, 9)"


@pytest.mark.parametrize("condition", [COLUMNS, ALONE, SINGLE, CLOSE])
@pytest.mark.parametrize("backend", ["blocked", "triton"])
def test_executors_follow_combs(condition: str, backend: str) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {condition}\n")
    boxes = pattern.plan({"n": 600}).heads[0].boxes
    assert boxes is not None
    reaches = [b.reaches[0] for b in boxes.boxes]
    assert any(r.repeats is not None or r.step > 1 for r in reaches)
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(1, 2, 600, 16, generator=generator).requires_grad_() for _ in range(4)]
    *tensors, slope = given

    def run(name: str) -> list[torch.Tensor]:
        out = pattern.compile(name)(*tensors)
        return [out, *torch.autograd.grad(out, tensors, slope)]

    for found, expected in zip(run(backend), run("reference"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_comb_of_a_million_keys_is_small() -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {COLUMNS}\n")
    plan = pattern.plan({"n": 1 << 20})
    assert plan.nbytes < 4 << 20
    queries = np.arange(1 << 20)
    before = np.maximum(queries - 39, 0)  # keys that only the columns allow
    columns = before // 80 * 16 + np.clip(before % 80 - 32, 0, 16)
    assert plan.pairs == (np.minimum(queries + 1, 40) + columns).sum()
