"""Kernels that walk tables made on the device give what the reference gives."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from attnlang.backends.triton import attend, told
from tests.backends.calls import AttentionCall, calls
from tests.stdlib.cases import Case
from tests.triton.test_attention import call_of, check

LENGTH = 150
DOC = [[i // 40 for i in range(LENGTH)]]
DOCUMENTS = ("lca_causal_document", "lca_full_document", "lca_share_question")


@pytest.fixture(autouse=True)
def on_device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tables are made by tensor operations wherever the tensors are; how many, call by call."""
    made: list[int] = []

    def tables_of(call: object) -> object:
        found = told.tables_of(call)  # type: ignore[arg-type]
        assert found is not None
        made.append(len(found))
        return found

    monkeypatch.setattr(attend, "told", tables_of)
    return made


@pytest.mark.parametrize("name", DOCUMENTS)
def test_packed_documents(name: str, on_device: list[int]) -> None:
    check(call_of(Case(name, {"n": LENGTH}, {}, 2, {"doc": DOC})))
    assert on_device == [1]


@given(calls(rules=("zero",)))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(call: AttentionCall) -> None:
    check(call)


def test_many_tile_pairs_are_left_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST_PAIRS", 1)
    monkeypatch.setattr(attend, "told", told.tables_of)
    check(call_of(Case("lca_causal_document", {"n": LENGTH}, {}, 1, {"doc": DOC})))
