"""``attnlang bench explain``: which sizes it takes, and what it says of them."""

from __future__ import annotations

import math

import pytest

from attnlang import stdlib
from attnlang.bench import explain


def test_every_pattern_has_sizes() -> None:
    cases = {name: explain.case_of(name) for name in stdlib.names()}
    assert [name for name, case in cases.items() if case is None] == []
    long = [c for c in cases.values() if c is not None and math.prod(c.sizes.values()) > 900_000]
    assert len(long) >= len(cases) - 1


@pytest.mark.parametrize("name", ["mla", "gla_latent", "davit_channel"])
def test_demands_on_heads_are_met(name: str) -> None:
    case = explain.case_of(name)
    assert case is not None
    case.pattern.explain(dict.fromkeys(case.sizes, 64), 8, case.head_dim, kv_heads=case.kv_heads)


def test_inputs_that_decide_are_drawn() -> None:
    case = explain.case_of("lca_causal_document")
    assert case is not None
    (doc,) = explain.drawn(case).values()
    assert (doc[..., 1:] >= doc[..., :-1]).all()
    alibi = explain.case_of("alibi")
    assert alibi is not None
    assert explain.drawn(alibi) == {}
