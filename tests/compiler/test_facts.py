"""Facts of a plan: what is claimed is so, and the usual patterns have theirs proved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.plan.count import pairs_per_row
from tests.compiler.test_classification import LONGEST, SHAPES, tile_truth, truth
from tests.strategies import programs, tiles


def parsed(*lines: str) -> attnlang.Pattern:
    return attnlang.parse("pattern p:\n" + "".join(f"    {line}\n" for line in lines))


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_facts_are_what_brute_force_says(shape: str, data: st.DataObject) -> None:
    program = data.draw(programs(axes=SHAPES[shape], longest=LONGEST[shape]))
    masks = truth(program)
    tile = data.draw(st.none() | tiles(program))
    plan = program.plan(tile)
    later = np.triu(np.ones(masks.shape[1:], dtype=bool), 1)
    assert plan.facts["rows_nonempty"] == masks.any(axis=2).all()
    same = masks.shape[1] == masks.shape[2]  # of unlike sequences it is not said
    assert plan.facts["causal"] == (same and not (masks & later).any())
    contiguous = True
    for head in range(program.heads):
        for row in tile_truth(masks[head], plan) > 0:
            live = np.flatnonzero(row)
            contiguous &= len(live) == 0 or bool(live[-1] - live[0] == len(live) - 1)
    assert plan.facts["contiguous"] == contiguous
    for group in plan.heads:
        counts = pairs_per_row(plan, group)
        np.testing.assert_array_equal(counts, masks[group.heads[0]].sum(axis=1))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_facts_without_the_tensors_hold_for_these(data: st.DataObject) -> None:
    program = data.draw(programs(longest=20))
    masks = truth(program)
    facts = program.plan(data.draw(st.none() | tiles(program)), inputs=False).facts
    later = np.triu(np.ones(masks.shape[1:], dtype=bool), 1)
    assert not facts["rows_nonempty"] or masks.any(axis=2).all()
    assert not facts["causal"] or not (masks & later).any()


@pytest.mark.parametrize(
    ("where", "facts"),
    [
        ("k.n <= q.n", {"rows_nonempty": True, "causal": True, "contiguous": True}),
        ("k.n < q.n", {"rows_nonempty": False, "causal": True, "contiguous": True}),
        ("abs(q.n - k.n) < 9", {"rows_nonempty": True, "causal": False, "contiguous": True}),
        (
            "k.n <= q.n and (q.n - k.n < 9 or k.n < 4)",
            {"rows_nonempty": True, "causal": True, "contiguous": False},
        ),
    ],
)
def test_facts_of_common_patterns(where: str, facts: dict[str, bool]) -> None:
    plan = parsed("over n", f"attend where {where}").plan({"n": 300}, tile=16)
    assert {name: plan.facts[name] for name in facts} == facts


def test_documents_attend_themselves_before_they_are_known() -> None:
    p = parsed("over n", "input doc: int[batch, n]", "attend where q.doc == k.doc and k.n <= q.n")
    assert p.plan({"n": 300}).facts["rows_nonempty"]


def test_a_query_that_is_no_key_is_not_its_own() -> None:
    """Equal lengths, but the queries of a later part: position 11 is not among the keys."""
    p = parsed("over n", "input doc: int[batch, n]", "attend where q.doc == k.doc and k.n >= q.n")
    assert p.plan({"n": 8}).facts["rows_nonempty"]
    assert not p.plan({"n": 8}, q_offset=4).facts["rows_nonempty"]
    image = attnlang.parse(
        "pattern p:\n    over y, x\n    input id: int[batch, y, x]\n    attend where q.id == k.id\n"
    )
    assert image.plan({"y": 4, "x": 4}).facts["rows_nonempty"]
    unlike = {"q.y": 2, "q.x": 8, "k.y": 4, "k.x": 4}
    assert not image.plan(unlike).facts["rows_nonempty"]
    reported = {f.name: f.holds for f in image.explain(unlike).report.facts}
    assert reported["rows_nonempty"] is None


def test_offsets_beyond_32_bits() -> None:
    p = parsed("over n", "attend where q.n - k.n < 4 and k.n <= q.n")
    assert p.plan({"n": 2**12}, heads=2**10).facts["int32"]
    assert not p.plan({"n": 2**12}, heads=2**11).facts["int32"]


def test_counting_needs_the_tensors() -> None:
    p = parsed("over n", "input doc: int[batch, n]", "attend where q.doc == k.doc")
    plan = p.plan({"n": 8})
    with pytest.raises(ValueError, match="give them to plan"):
        _ = plan.pairs
    assert p.plan({"n": 8}, doc=torch.zeros(1, 8, dtype=torch.int32)).pairs == 64


# -- run-time tensors as people give them ---------------------------------------------------------

DOCUMENTS = parsed("over n", "input doc: int[batch, n] sorted", "attend where q.doc == k.doc")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_integers_of_any_width(dtype: torch.dtype) -> None:
    """Unsigned ids that go down are not sorted: their differences would wrap around."""
    doc = torch.tensor([[3, 3, 1, 1, 200, 2, 0, 0]]).clamp(max=100).to(dtype)
    for tile in (None, 2, (3, 5)):
        plan = DOCUMENTS.plan({"n": 8}, tile=tile, doc=doc)
        assert "doc" not in plan.known.sorted
        assert plan.pairs == DOCUMENTS.mask({"n": 8}, doc=doc).sum()


@pytest.mark.parametrize(
    "doc",
    [
        torch.zeros(1, 7, dtype=torch.int64),
        torch.zeros(8, dtype=torch.int64),
        torch.zeros(1, 8),
        torch.zeros(1, 8, dtype=torch.bool),
        torch.zeros(0, 8, dtype=torch.int64),
        "doc",
    ],
)
def test_tensors_that_do_not_fit(doc: object) -> None:
    with pytest.raises(attnlang.PatternError) as raised:
        DOCUMENTS.plan({"n": 8}, doc=doc)
    assert [d.code for d in raised.value.diagnostics] == ["AL408"]


def test_integers_beyond_what_binding_takes_them_to_be() -> None:
    """Comparisons are settled for 32-bit values: hashes of documents must be numbered first."""
    doc = torch.arange(8, dtype=torch.int64)[None] << 40
    with pytest.raises(attnlang.PatternError, match="integers of at most 2147483647"):
        DOCUMENTS.plan({"n": 8}, doc=doc)


def test_an_undeclared_tensor() -> None:
    with pytest.raises(attnlang.PatternError) as raised:
        DOCUMENTS.plan({"n": 8}, docs=torch.zeros(1, 8, dtype=torch.int64))
    (found,) = raised.value.diagnostics
    assert (found.code, found.help) == ("AL412", "did you mean `doc`?")


def test_a_table_per_head_is_read() -> None:
    p = parsed(
        "over n", "input open: bool[head, len(n) // 4]",
        "attend where k.n <= q.n and open[head, k.n // 4] empty zero",
    )  # fmt: skip
    given = torch.tensor([[True, False, True], [False, False, False]])
    plan = p.plan({"n": 12}, heads=2, open=given)
    assert plan.pairs == p.mask({"n": 12}, heads=2, open=given).sum() == 52


def test_a_table_without_entries_reads_zero() -> None:
    p = parsed(
        "over n",
        "input open: bool[len(n) // 40]",
        "attend where open[k.n] or k.n == q.n empty zero",
    )
    given = torch.zeros(0, dtype=torch.bool)
    assert p.plan({"n": 12}, open=given).pairs == p.mask({"n": 12}, open=given).sum() == 12


def test_half_precision_tensors_are_read() -> None:
    p = parsed("over n", "input w: float[batch, n]", "attend where k.w > 0.5 empty zero")
    w = torch.tensor([[0.0, 1.0, 2.0, 0.5]], dtype=torch.bfloat16)
    assert p.plan({"n": 4}, w=w).pairs == p.mask({"n": 4}, w=w).sum() == 8


def test_values_that_are_no_numbers_are_masked_and_nothing_else() -> None:
    p = parsed(
        "over n", "input w: float[batch, n]",
        "attend where float(q.n) + k.w < 100.0 and (q.n * k.n) % 3 < 2 empty zero",
    )  # fmt: skip
    w = torch.zeros(1, 16)
    w[0, 5] = torch.nan
    for tile in (None, 4, (3, 5)):
        assert p.plan({"n": 16}, tile=tile, w=w).pairs == p.mask({"n": 16}, w=w).sum()
