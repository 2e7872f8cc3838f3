"""The soak's own parts: what it calls wrong, how it makes that small, and the file it leaves."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.soak import case as cases
from tests.soak.case import Case, Failure, read, wrong
from tests.soak.run import cases as random_cases
from tests.soak.run import soak
from tests.soak.shrink import candidates, smallest

TEXT = """\
pattern p(w: int[head] = 3):
    over n
    input flag: bool[batch, n]
    input sinks: float[head]
    attend where (causal(n) and (abs(q.n - k.n) < w[head] or k.flag)) or k.n % 7 == 2 empty zero
        sink sinks[head]
        softcap 1.5
"""
CASE = Case(TEXT, {"n": 20}, 4, 2, 2, 3, 4, "float64", "blocked", seed=5, params={"w": 4})


def test_the_case_is_fine() -> None:
    assert wrong(CASE) is None
    assert wrong(replace(CASE, dtype="bfloat16")) is None


def test_seeds_give_the_same_cases() -> None:
    first, again = (list(itertools.islice(random_cases(7, ("blocked",)), 6)) for _ in range(2))
    assert first == again
    assert len({c.text for c in first}) > 1


def broken(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Every backend but the reference is off where the text reads so and a query follows a key."""
    right = cases.results

    def results(case: Case, op: Any, *given: Any) -> dict[str, torch.Tensor]:
        found = right(case, op, *given)
        if op.backend != "reference" and when in case.text and case.sizes["n"] > 2:
            found["dk"] = found["dk"] + 1
        return found

    monkeypatch.setattr(cases, "results", results)


def test_what_fails_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, "%")
    failure = wrong(CASE)
    assert failure is not None
    assert (failure.kind, failure.what) == ("differs in", "dk")
    small = smallest(CASE, lambda c: failure.same(wrong(c)))
    assert small.sizes == {"n": 3}
    assert (small.heads, small.kv_heads, small.batch, small.width) == (1, 1, 1, 1)
    assert "%" in small.text
    assert len(small.text.splitlines()) == 3
    assert len(small.text) <= len("pattern p:\n    over n\n    attend where 0 % 7 == 2\n")


def test_errors_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*given: Any) -> Any:
        raise ZeroDivisionError("no\nmore")

    monkeypatch.setattr(cases, "results", breaks)
    assert wrong(CASE) == Failure("raises", "ZeroDivisionError", "no")


def test_refusals_are_not() -> None:
    assert wrong(replace(CASE, text=TEXT.replace("causal(n)", "causl(n)"))) is None
    per_head = TEXT.replace("bool[batch, n]", "bool[batch, head, n]")
    assert wrong(replace(CASE, text=per_head)) is None


def test_candidates_are_smaller_and_can_be_read() -> None:
    found = list(candidates(CASE))
    assert len(found) > 40
    for c in found:
        before = (len(CASE.text), *CASE.sizes.values(), CASE.heads, CASE.batch, CASE.width)
        after = (len(c.text), *c.sizes.values(), c.heads, c.batch, c.width)
        assert after <= before or c.kv_heads < CASE.kv_heads or c.value_width < CASE.value_width


def test_a_failure_leaves_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken(monkeypatch, "==")
    said: list[str] = []
    one = iter([CASE, replace(CASE, seed=6)])
    monkeypatch.setattr("tests.soak.run.cases", lambda first, backends: one)
    (kept,) = soak(1.0, 0, tmp_path, tell=said.append)
    (path,) = tmp_path.glob("*.attn")
    again = read(path.read_text(encoding="utf-8"))
    assert again == kept.case
    assert kept.failure.same(wrong(again))
    assert "seed 5: 0 cases, 0 failures" in said
    assert said[-1] == "2 cases, 1 failures"


@pytest.mark.long
@pytest.mark.parametrize("backend", ["blocked", "triton"])
def test_a_minute(backend: str, tmp_path: Path) -> None:
    kept = soak(1.0, 20261121, tmp_path, (backend,))
    assert [k.case.file(k.failure) for k in kept] == []
