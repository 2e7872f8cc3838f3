"""Facts of a plan: what is claimed is so, and the usual patterns have theirs proved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlang
from attnlang.compiler.plan.boxes import Everything
from attnlang.compiler.plan.count import pairs_per_row
from attnlang.compiler.plan.crossing import stays_within
from attnlang.compiler.plan.first_tile import first_tile_live
from attnlang.compiler.plan.plan import HeadPlan, Plan
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
        for row in tile_truth(masks[head], plan, head) > 0:
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


Ints = npt.NDArray[np.int64]


def first_tile(mask: npt.NDArray[np.bool_], plan: Plan, group: HeadPlan, queries: Ints) -> Ints:
    """The keys of the first tile visited for a tile of queries, read off the mask."""
    keys = np.flatnonzero(mask[queries].any(axis=0))
    if group.boxes is None or not len(keys):
        tiles = (t[t >= 0] for t in group.layout.k.tokens)
        return next((t for t in tiles if np.isin(t, keys).any()), keys)
    top = 0
    for part in group.boxes.parts:
        if queries[0] in group.layout.q.tokens[top : top + part.q.tiles]:
            break
        top += part.q.tiles
    extent = next(x for x in plan.problem.k if x.start <= keys[0] < x.stop)
    inside = keys[(keys >= extent.start) & (keys < extent.stop)] - extent.start
    box = next(b for b in part.boxes if b.k == extent)
    if isinstance(box, Everything):
        return extent.start + inside[: box.k_tile[0]]
    near = []
    axes = np.unravel_index(inside, extent.lengths)
    for places, reach, tile in zip(axes, box.reaches, box.k_tile, strict=True):
        at = np.unique(places)
        broken = np.flatnonzero(np.diff(at) != reach.step)  # the first of several pieces ends here
        near.append(at[: broken[0] + 1 if len(broken) else None][:tile])
    grid = np.meshgrid(*near, indexing="ij")
    return extent.start + np.ravel_multi_index([g.ravel() for g in grid], extent.lengths)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_first_tile_is_live_where_it_is_said(shape: str, data: st.DataObject) -> None:
    program = data.draw(programs(axes=SHAPES[shape], longest=LONGEST[shape]))
    masks = truth(program)
    plan = program.plan(data.draw(st.none() | tiles(program)))
    whole = []
    for group in plan.heads:
        mask = masks[group.heads[0]]
        dead = set()
        for row in group.layout.q.tokens:
            queries = row[row >= 0]
            live = mask[np.ix_(queries, first_tile(mask, plan, group, queries))].any(axis=1)
            dead |= set(queries[~live].tolist())
        found = first_tile_live(plan, group)
        assert found.holds is not bool(dead)
        assert found.holds or found.query in dead
        whole.append(not dead)
    assert plan.facts["first_tile_live"] == all(whole)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_segment_is_left_where_it_is_said(data: st.DataObject) -> None:
    program = data.draw(programs(longest=24))
    if "doc" not in program.inputs or not any("doc" in x and "sorted" in x for x in program.lines):
        return
    masks, doc = truth(program), program.inputs["doc"][0]
    plan = program.plan(data.draw(st.none() | tiles(program)))
    grid = next(x for x in plan.problem.q if x.segment.is_grid)
    inner = masks[:, grid.start : grid.stop, grid.start : grid.stop]
    crosses = (inner & (doc[:, None] != doc[None, :])).any()
    assert plan.facts["within_doc"] == (not crosses)
    for group in plan.heads:
        found = stays_within(plan, group, "doc")
        if found.holds is False:
            assert found.key is not None
            assert masks[group.heads[0], found.query, found.key]
            assert doc[found.query - grid.start] != doc[found.key - grid.start]
    unknown = program.plan(inputs=False)
    for group in unknown.heads:
        if stays_within(unknown, group, "doc").holds:  # proved for any documents, so for these
            assert not (inner[list(group.heads)] & (doc[:, None] != doc[None, :])).any()


def test_a_leak_between_documents_is_shown() -> None:
    p = parsed(
        "over n", "input doc: int[batch, n] sorted",
        "attend where causal(n) and (q.doc == k.doc or k.n < 2) empty zero",
    )  # fmt: skip
    doc = np.repeat([0, 1], 50)[None]
    assert not p.plan({"n": 100}, doc=doc).facts["within_doc"]
    report = p.explain({"n": 100}, doc=doc)
    witness = report.report.fact("within_doc").witness
    assert witness is not None
    assert witness.query >= 50 > 2 > (witness.key or 0)
    assert f"query {witness.query} attends key {witness.key}" in str(report)
    data = report.to_dict()["facts"]["within_doc"]
    assert data["holds"] is False
    assert data["counterexample"]["query"] == witness.query


def test_documents_that_are_told_apart_need_no_ids() -> None:
    p = attnlang.load("stdlib:lca_causal_document")
    assert p.plan({"n": 300}).facts["within_doc"]
    shared = attnlang.load("stdlib:lca_share_question")
    assert not shared.plan({"n": 300}).facts["within_doc"]
    assert shared.explain({"n": 300}).report.fact("within_doc").holds is None


@pytest.mark.parametrize(
    ("where", "live"),
    [
        ("causal(n)", True),
        ("band(n, 9)", False),
        ("band(n, 90)", False),
        ("causal(n) and (band(n, 9) or k.n < 1)", True),
        ("q.n - k.n >= 5", False),
    ],
)
def test_first_tiles_of_common_patterns(where: str, live: bool) -> None:
    p = parsed("over n", f"attend where {where}")
    plan = p.plan({"n": 300}, tile=(64, 32))
    assert plan.facts["first_tile_live"] is live
    fact = p.explain({"n": 300}).report.fact("first_tile_live")
    assert (fact.witness is None) == bool(fact.holds)


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
