"""The report's figures against brute force: the oracles' masks and plain graph searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import attnlang
from attnlang.compiler.report.report import Report
from tests.oracles import mask

DOCS = np.array([[0] * 5 + [1] * 9 + [2] * 6])
CASES: list[tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]]] = [
    ("causal", {"n": 37}, 2, {}, {}),
    ("full", {"n": 20}, 1, {}, {}),
    ("sliding_window", {"n": 50}, 2, {"window": 7, "sinks": 2}, {}),
    ("streaming_sink", {"n": 41}, 1, {"window": 5, "sinks": 3}, {}),
    ("longlora_s2", {"n": 48}, 4, {}, {}),
    ("longlora_s2", {"n": 48}, 4, {"edge": "wrap"}, {}),
    ("neighborhood_1d", {"n": 40}, 1, {"window": 5, "dilation": 3}, {}),
    ("neighborhood_1d", {"n": 40}, 1, {"window": 6, "stride": 2, "causal": True}, {}),
    ("neighborhood_2d", {"y": 6, "x": 9}, 1, {"window": (3, 5)}, {}),
    ("neighborhood_3d", {"t": 3, "y": 4, "x": 5}, 1, {"window": (1, 3, 3)}, {}),
    ("lca_causal_document", {"n": 20}, 2, {}, {"doc": DOCS}),
]


def report(
    name: str,
    sizes: Mapping[str, int],
    heads: int = 1,
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Report:
    pattern = attnlang.load(f"stdlib:{name}", **dict(params or {}))
    return pattern.explain(sizes, heads, 32, **dict(inputs or {})).report


def truth(
    name: str, sizes: Mapping[str, int], heads: int, params: Mapping[str, Any], inputs: Any
) -> npt.NDArray[np.bool_]:
    """The oracle's mask with one entry for every head ``[H, Nq, Nk]``."""
    found = np.asarray(mask(name)(sizes, heads, **params, **inputs))
    found = found[0] if found.ndim == 4 else found
    return np.broadcast_to(found, (heads, *found.shape[1:]))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[3]}")
def test_counts(case: tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]]) -> None:
    made, want = report(*case), truth(*case)
    pairs = int(want.sum())
    keys = want.sum(axis=2)
    assert made.pairs.count == made.pairs.at_most == pairs
    assert made.pairs.density == pytest.approx(want.mean())
    assert made.pairs.keys is not None
    assert made.pairs.keys.least == keys.min()
    assert made.pairs.keys.most == keys.max()
    assert made.pairs.keys.mean == pytest.approx(keys.mean())
    assert made.cost.forward == 4 * 32 * pairs
    assert made.cost.backward == 10 * 32 * pairs
    assert made.cost.dense_forward == 4 * 32 * want.size
    assert made.cost.speedup_pairs == pytest.approx(want.size / pairs)
    assert made.tiles.waste == pytest.approx(made.tiles.slots / pairs)
    assert made.tiles.waste >= 1.0
    assert made.memory.tensors == 2 * 4 * want.shape[0] * want.shape[1] * 32


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[3]}")
def test_facts_and_their_counterexamples(
    case: tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]],
) -> None:
    made, want = report(*case), truth(*case)
    assert made.fact("rows_nonempty").holds is bool(want.any(axis=2).all())
    later = np.triu(np.ones(want.shape[1:], dtype=bool), 1)
    causal = made.fact("causal")
    assert causal.holds is not (want & later).any()
    if causal.witness is not None:
        w = causal.witness
        assert w.key is not None
        assert want[w.head, w.query, w.key]
        assert w.key > w.query


def test_an_empty_row_is_shown() -> None:
    pattern = attnlang.parse(
        "pattern p:\n    over y, x\n    attend where k.y < q.y and k.x == q.x\n"
    )
    fact = pattern.explain({"y": 3, "x": 4}).report.fact("rows_nonempty")
    assert fact.holds is False
    assert fact.witness is not None
    assert (fact.witness.query, fact.witness.key) == (0, None)
    assert fact.witness.query_at == (("y", 0), ("x", 0))


def test_without_its_tensors_a_pattern_has_bounds_and_facts() -> None:
    made = report("lca_causal_document", {"n": 100})
    assert made.pairs.count is None
    assert made.pairs.at_most == 5050
    assert made.pairs.density is None
    assert made.cost.forward is None
    assert made.fact("causal").holds is True
    assert made.fact("rows_nonempty").holds is True
    assert "`doc`" in made.notes[0]


def layers_by_search(edges: npt.NDArray[np.bool_]) -> int:
    """Layers until one more reaches nothing new, by adding one layer at a time."""
    n = len(edges)
    steps = edges | np.eye(n, dtype=bool)
    seen, layers = steps, 1
    while True:
        more = (seen.astype(int) @ steps.astype(int)) > 0
        if (more == seen).all():
            return layers
        seen, layers = more, layers + 1


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[3]}")
def test_receptive_field(
    case: tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]],
) -> None:
    made, want = report(*case), truth(*case)
    assert made.reach is not None
    assert made.reach.tile is None
    assert made.reach.layers == layers_by_search(want.any(axis=0))


def test_receptive_field_of_long_windows_is_exact() -> None:
    made = report("sliding_window", {"n": 5000}, params={"window": 100})
    assert made.reach is not None
    assert (made.reach.layers, made.reach.islands, made.reach.tile) == (51, 1, None)


def test_receptive_field_between_boxes_is_a_lower_bound() -> None:
    made = report("streaming_sink", {"n": 3000}, params={"window": 65, "sinks": 1})
    assert made.reach is not None
    assert made.reach.tile is not None
    assert 40 < made.reach.layers <= 47


@pytest.mark.parametrize(
    ("where", "islands"),
    [("q.n // 8 == k.n // 8", 4), ("q.n % 5 == k.n % 5", 5), ("k.n <= q.n", 1), ("q.n == k.n", 32)],
)
def test_islands(where: str, islands: int) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {where}\n")
    made = pattern.explain({"n": 32}).report
    assert made.reach is not None
    assert made.reach.islands == islands


def test_islands_of_long_documents() -> None:
    docs = np.repeat(np.arange(7), [1, 300, 5, 400, 100, 90, 104])[None]
    made = report("lca_causal_document", {"n": 1000}, inputs={"doc": docs})
    assert made.reach is not None
    assert (made.reach.layers, made.reach.islands) == (1, 7)


def cache_by_replay(want: npt.NDArray[np.bool_]) -> int:
    """The most keys that are already there and are still looked at by a later query."""
    most = 0
    for head in want:
        for t in range(len(head)):
            most = max(most, int(head[t + 1 :, : t + 1].any(axis=0).sum()))
    return most


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c[0] in ("causal", "sliding_window", "streaming_sink", "longlora_s2")]
    + [CASES[-1]],
    ids=lambda c: f"{c[0]}-{c[3]}",
)
def test_kv_cache(
    case: tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]],
) -> None:
    made, want = report(*case), truth(*case)
    if not made.fact("causal").holds:
        assert made.cache is None
        return
    assert made.cache is not None
    assert made.cache.at == case[1]["n"]
    assert made.cache.tokens == cache_by_replay(want)


def test_the_cache_of_a_window_does_not_grow() -> None:
    window = report("sliding_window", {"n": 300}, params={"window": 16}).cache
    everything = report("causal", {"n": 300}).cache
    assert window is not None
    assert everything is not None
    assert (window.tokens, window.grows) == (15, False)
    assert (everything.tokens, everything.grows) == (299, True)


@pytest.mark.parametrize(
    ("where", "kind", "exponent"),
    [
        ("0 <= q.n - k.n < 100", "linear", 0.0),
        ("k.n <= q.n", "quadratic", 1.0),
        ("k.n <= q.n and (q.n - k.n < 32 or k.n % 64 == 0)", "quadratic", 1.0),
        ("k.n <= q.n and pow2(ilog2(q.n - k.n)) == q.n - k.n", "N log N", 0.0),
        ("q.n // 64 == k.n // 64", "linear", 0.0),
        # Not solved, and covered by its window on short sequences: a sample tells.
        ("k.n <= q.n and (q.n - k.n < 4096 or (k.n // 64 + q.n // 64) % 8 == 0)", "quadratic", 1.0),
    ],
)
def test_growth_of_sequences(where: str, kind: str, exponent: float) -> None:
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {where}\n")
    made = pattern.explain({"n": 64}).report.growth
    assert made is not None
    assert made.kind.startswith(kind)
    assert made.exponent == pytest.approx(exponent, abs=0.1)


def test_growth_of_grids() -> None:
    rows = attnlang.parse("pattern p:\n    over y, x\n    attend where q.y == k.y\n")
    made = rows.explain({"y": 8, "x": 8}).report.growth
    assert made is not None
    assert made.exponent == pytest.approx(0.5, abs=0.01)
    near = report("neighborhood_2d", {"y": 32, "x": 32}, params={"window": 5}).growth
    assert near is not None
    assert near.exponent == 0.0


def test_cross_attention_has_no_receptive_field() -> None:
    text = "pattern p:\n    over q: y, x\n    over k: n\n    attend where k.n < q.y + q.x\n"
    made = attnlang.parse(text).explain({"y": 4, "x": 5, "n": 7}).report
    want = sum(min(7, y + x) for y in range(4) for x in range(5))
    assert made.pairs.count == want
    assert made.reach is None
    assert made.cache is None
    assert made.fact("causal").holds is None
