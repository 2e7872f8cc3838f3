"""Diagnostics for tools and people: JSON, SARIF, the renderer's colours and long lines."""

from __future__ import annotations

import json

from attnlang.compiler.diagnostics.formats import to_json, to_sarif
from attnlang.compiler.diagnostics.model import Diagnostic, Label
from attnlang.compiler.diagnostics.render import render
from attnlang.compiler.source import Source, Span
from tests.diagnostics.finding import findings

TEXT = """pattern p:
    over n
    let a = 1
    let a = 2
    attend where causl(n)
"""
FOUND = findings("file.attn", TEXT.encode())


def test_json() -> None:
    log = json.loads(json.dumps(to_json(FOUND)))
    assert log["schema"] == "attnlang.diagnostics/1"
    first, second = log["diagnostics"]
    assert first == {
        "severity": "error",
        "code": "AL102",
        "message": "`a` is defined twice",
        "primary": {
            "file": "file.attn",
            "line": 4,
            "column": 9,
            "end_line": 4,
            "end_column": 10,
            "text": "defined again",
        },
        "secondary": [
            {
                "file": "file.attn",
                "line": 3,
                "column": 9,
                "end_line": 3,
                "end_column": 10,
                "text": "first defined here",
            }
        ],
        "notes": [],
        "help": None,
    }
    assert second["help"] == "did you mean `causal`?"


def test_json_without_a_place() -> None:
    (record,) = to_json([Diagnostic("AL001", "cannot read x: no such file")])["diagnostics"]
    assert record["primary"] is None
    assert record["secondary"] == []


def test_sarif() -> None:
    log = json.loads(json.dumps(to_sarif(FOUND)))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "attnlang"
    assert [r["id"] for r in driver["rules"]] == ["AL102", "AL103"]
    assert all(
        r["shortDescription"]["text"] and r["fullDescription"]["text"] for r in driver["rules"]
    )
    first, second = run["results"]
    assert first["ruleId"] == "AL102"
    assert first["level"] == "error"
    (place,) = first["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "file.attn"},
        "region": {"startLine": 4, "startColumn": 9, "endLine": 4, "endColumn": 10},
    }
    (related,) = first["relatedLocations"]
    assert related["message"]["text"] == "first defined here"
    assert second["message"]["text"] == "there is no function `causl` (did you mean `causal`?)"


def test_sarif_without_findings() -> None:
    (run,) = to_sarif([])["runs"]
    assert run["results"] == []
    assert run["tool"]["driver"]["rules"] == []


def test_colour_changes_no_words() -> None:
    coloured = render(FOUND, color=True)
    assert "\x1b[31m" in coloured
    for code in ("0", "1", "31", "34", "36"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == render(FOUND)


def test_several_findings_are_counted() -> None:
    assert render(FOUND).endswith("\n\n2 errors")
    assert "errors" not in render(FOUND[:1])
    assert render([]) == ""


def _caret(line: str, start: int, end: int) -> tuple[str, str]:
    """The source line and the caret line as rendered, from the bar on."""
    source = Source("f", line)
    text = render([Diagnostic("AL010", "m", Label(Span(source, start, end), "here"))])
    _, _, _, shown, carets = text.split("\n")
    return shown.partition("| ")[2], carets.partition("| ")[2]


def test_carets_stand_under_wide_and_tabbed_text() -> None:
    assert _caret("\tab cd", 4, 6) == ("\tab cd", "\t   ^^ here")
    assert _caret("注意 cd", 3, 5) == ("注意 cd", "     ^^ here")
    assert _caret("注意 cd", 0, 2) == ("注意 cd", "^^^^ here")
    assert _caret("e\N{COMBINING ACUTE ACCENT} cd", 3, 5) == (
        "e\N{COMBINING ACUTE ACCENT} cd",
        "  ^^ here",
    )


def test_long_lines_are_shown_around_the_caret() -> None:
    line = "a" * 500 + "XYZ" + "b" * 500
    shown, carets = _caret(line, 500, 503)
    assert len(shown) == 160
    assert shown.startswith("...a")
    assert shown.endswith("b...")
    at = shown.index("XYZ")
    assert carets == " " * at + "^^^ here"


def test_escape_sequences_of_strangers_are_made_harmless() -> None:
    source = Source("evil\x1b[2Jname", "a\x1b[31mb")
    text = render([Diagnostic("AL010", "bad \x1b[31m", Label(Span(source, 0, 1)), help="\x9b1m")])
    assert "\x1b" not in text
    assert "\x9b" not in text


def test_one_finding_as_a_line() -> None:
    assert str(FOUND[0]) == "file.attn:4:9: error[AL102]: `a` is defined twice"
    assert str(Diagnostic("AL001", "gone")) == "error[AL001]: gone"
