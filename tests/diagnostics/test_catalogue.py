"""The error catalogue: every entry shows a mistake that raises its code, and the mended text."""

from __future__ import annotations

import re

import pytest

from attnlang.compiler.check import check_pattern, open_module
from attnlang.compiler.diagnostics.catalogue import CATALOGUE, Entry
from attnlang.compiler.diagnostics.model import Diagnostic, PatternError, Severity
from attnlang.compiler.problem.bind import bind
from attnlang.compiler.source import Source
from tests.diagnostics.finding import findings

EXAMPLES = [pytest.param(e, id=e.code) for e in CATALOGUE.values() if e.wrong]


def raised(text: str, values: dict[str, object]) -> list[Diagnostic]:
    """What a text, parameter values and 64 positions on every axis give."""
    found = findings("<example>", text.encode())
    if found:
        return list(found)
    try:
        pattern = check_pattern(open_module(Source("<example>", text)), None, values)
        bind(pattern, dict.fromkeys((*pattern.q_axes, *pattern.k_axes), 64), heads=4)
    except PatternError as error:
        return list(error.diagnostics)
    return []


@pytest.mark.parametrize("entry", EXAMPLES)
def test_wrong_raises_only_its_code(entry: Entry) -> None:
    found = raised(entry.wrong, dict(entry.call))
    assert {d.code for d in found} == {entry.code}
    assert all(d.severity is entry.severity for d in found)


@pytest.mark.parametrize("entry", EXAMPLES)
def test_right_raises_nothing(entry: Entry) -> None:
    bad_values = entry.code in ("AL401", "AL403")  # for these the text was right all along
    assert raised(entry.right, {} if bad_values else dict(entry.call)) == []


@pytest.mark.parametrize("entry", [pytest.param(e, id=e.code) for e in CATALOGUE.values()])
def test_entries_are_complete(entry: Entry) -> None:
    assert re.fullmatch(r"AL[0-5]\d\d", entry.code)
    assert entry.title
    assert entry.title[0].islower() or entry.title.startswith("not UTF-8")
    assert entry.template
    assert not entry.template.endswith(".")
    assert entry.explanation.endswith(".")
    assert bool(entry.wrong) == bool(entry.right)
    warns = entry.code.startswith("AL5")
    assert entry.severity is (Severity.WARNING if warns else Severity.ERROR)


def test_codes_are_in_order_and_used_once() -> None:
    assert list(CATALOGUE) == sorted(CATALOGUE)


def test_a_missing_value_names_the_parameter() -> None:
    text = "pattern p(window: int):\n    over n\n    attend where q.n - k.n < window\n"
    (found,) = raised(text, {})
    assert (found.code, found.location) == ("AL402", "<example>:1:11")
    assert found.message == "pattern `p` needs a value for `window` (int)"


def test_values_of_the_wrong_kind() -> None:
    header = "pattern p(w: int[axis] = 3, e: a | b = a):"
    text = header + "\n    over y, x\n    attend where w[y] > w[x] or e == b\n"
    (found,) = raised(text, {"w": (1, 2, 3)})
    assert found.message == "parameter `w` (int[axis]) cannot be (1, 2, 3)"
    assert found.help == "it takes one int for each axis (y, x), or one for all"
    (found,) = raised(text, {"e": "c"})
    assert found.code == "AL403"
    (found,) = raised(text, {"ww": 3})
    assert (found.code, found.help) == ("AL401", "did you mean `w`?")
