"""The language reference: its examples hold, and it leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnlang.compiler.check import prelude
from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.ir.builtins import BUILTINS, Builtin
from attnlang.compiler.ir.pattern import EmptyRule
from attnlang.compiler.sema.calls import MAX_CALLS
from attnlang.compiler.sema.patterns import MAX_AXES
from attnlang.compiler.sema.scope import RESERVED
from attnlang.compiler.source import Source
from attnlang.compiler.syntax import limits
from attnlang.compiler.syntax.explain_syntax import OPTIONS, STATEMENTS
from attnlang.compiler.syntax.parse import parse
from attnlang.compiler.syntax.printer import format_module
from tests.diagnostics.finding import findings

REFERENCE = (Path(__file__).parents[2] / "compiler" / "LANGUAGE.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```attn(?: error=(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(m[2], m[1], id=f"line {REFERENCE[: m.start()].count(chr(10)) + 1}")
    for m in FENCE.finditer(REFERENCE)
]


@pytest.mark.parametrize(("text", "code"), EXAMPLES)
def test_example(text: str, code: str | None) -> None:
    found = findings("LANGUAGE.md", text.encode())
    assert {d.code for d in found} == ({code} if code else set()), found


@pytest.mark.parametrize(("text", "code"), EXAMPLES)
def test_examples_are_in_canonical_form(text: str, code: str | None) -> None:
    assert format_module(parse(Source("LANGUAGE.md", text))) == text


def test_there_are_examples_of_both_sorts() -> None:
    assert len(EXAMPLES) >= 15
    assert sum(p.values[1] is not None for p in EXAMPLES) >= 6
    assert REFERENCE.count("```attn") == len(EXAMPLES)


@pytest.mark.parametrize("builtin", BUILTINS.values(), ids=lambda b: b.name)
def test_every_builtin_has_its_row(builtin: Builtin) -> None:
    low, high = builtin.arity
    count = str(low) if low == high else f"{low} to {high}"
    *most, last = (str(kind) for kind in builtin.arguments)
    kinds = f"{', '.join(most)} or {last}" if most else last
    same = "its kind" if high == 1 else "their kind"
    gives = same if builtin.result is None else str(builtin.result)
    row = f"| `{builtin.name}` | {count} | {kinds} | {gives} | {builtin.meaning} |"
    assert row in REFERENCE.splitlines()


def test_every_group_of_the_catalogue_has_its_row() -> None:
    groups: dict[str, list[str]] = {}
    for code in CATALOGUE:
        groups.setdefault(code[:3], []).append(code)
    for codes in groups.values():
        span = codes[0] if len(codes) == 1 else f"{codes[0]} to {codes[-1]}"
        assert f"| {span} |" in REFERENCE


def test_every_word_is_mentioned() -> None:
    prelude_names = {f.name.id for f in prelude().functions}
    words = {*RESERVED, *STATEMENTS, *OPTIONS, *EmptyRule, *prelude_names, "index", "grid", "axis"}
    helpers = {"group_length", "window_start"}
    missing = {w for w in words - helpers if not re.search(rf"`[^`\n]*\b{w}\b[^`\n]*`", REFERENCE)}
    assert missing == set()


def test_limits_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| (\d+) \| AL", REFERENCE, re.MULTILINE))
    assert {name: int(value) for name, value in rows.items()} == {
        "bytes of a file": limits.MAX_BYTES,
        "open brackets": limits.MAX_BRACKETS,
        "levels of an expression": limits.MAX_DEPTH,
        "functions called inside functions": MAX_CALLS,
        "integer literals, lengths": limits.MAX_INTEGER,
        "parts of one expression, functions and lets put in place": limits.MAX_NODES,
        "parts read in a whole file": limits.MAX_STEPS,
        "axes on one side": MAX_AXES,
        "copies of what a `for` repeats": limits.MAX_COPIES,
    }


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^## (.+)$", REFERENCE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", REFERENCE)) <= anchors
    assert len(re.findall(r"^- \[", REFERENCE, re.MULTILINE)) == len(headings) - 0
