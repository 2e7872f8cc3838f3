"""What users read about realistic mistakes, compared to the letter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.diagnostics.render import render
from tests.diagnostics.finding import findings

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.attn"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda p: p.stem)
def test_message(path: Path, golden: Callable[[Path, str], None]) -> None:
    found = findings(path.name, path.read_bytes())
    assert found, f"{path.name} has no mistake"
    golden(path.with_suffix(".txt"), render(found) + "\n")


def test_every_code_of_the_text_is_met() -> None:
    """AL0xx-AL3xx come from the text alone: each has a realistic file here."""
    met = {d.code for p in BROKEN for d in findings(p.name, p.read_bytes())}
    from_files = {"AL001", "AL004", "AL109"}
    assert {c for c in CATALOGUE if c < "AL4"} - from_files <= met
