"""No figure of speed stands in a document unless a result file says it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from attnlang.bench import files

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "examples"))
import measured  # noqa: E402 (a module of the examples)

PAGES = sorted(
    p for p in ROOT.rglob("*.md") if not {".git", ".venv"} & set(p.relative_to(ROOT).parts)
)
GENERATED = re.compile(r"<!-- generated: .*?<!-- end -->", re.DOTALL)
FIGURE = re.compile(
    r"\d(?:[\d.,]*\d)?\s*(?:(?:times|×|x) (?:as fast|faster|as long|slower)|(?:ms|µs|ns)\b|[GT]FLOP/s|"
    r"tokens/s|tokens a second|% faster)"
)
SUITE: dict[str, Any] = {
    "schema": "attnlang.bench.suite/1", "device": "cpu", "scale": "quick", "dtype": "float32",
    "circumstances": {
        "date": "2026-01-02 10:00", "processor": "P", "cores": 2, "versions": {"torch": "2.0"},
    },
    "rows": [
        {
            "workload": "window", "failed": "", "tokens": 4096, "density": 0.0312, "waste": 1.5,
            "bound": {"forward": 0.005, "both": None},
            "contenders": [
                {"name": "attnlang", "reason": "", "no_backward": "", "both": None,
                 "forward": {"median_s": 0.01, "ratio": 1.0}},
                {"name": "sdpa", "reason": "", "no_backward": "", "both": None,
                 "forward": {"median_s": 0.08, "ratio": 7.891}},
                {"name": "flex", "reason": "no compiler", "status": "failed", "no_backward": "",
                 "forward": None, "both": None},
            ],
        }
    ],
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_figures_are_generated(page: Path) -> None:
    """Outside of what is made from results (and held to them by other tests), none."""
    assert FIGURE.findall(GENERATED.sub("", page.read_text(encoding="utf-8"))) == []


def test_figures_are_recognised() -> None:
    for text in ("18.1 times as fast", "4 ms", "1.5x faster", "300 TFLOP/s", "2 × as fast"):
        assert FIGURE.search(text), text
    for text in ("8 heads", "2.5 times the pairs", "64 MB", "in 3 steps"):
        assert not FIGURE.search(text), text


def test_results_say_when_and_where() -> None:
    found = list(files.read())
    assert found
    for path, result in found:
        about = result["circumstances"]
        assert {"date", "processor", "system", "versions"} <= about.keys(), path
        assert files.kind(result) in path.name
        if files.kind(result) in ("suite", "constant", "start"):
            assert about["commit"], path


def test_a_page_without_results_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "newest", lambda *what: None)
    page = ROOT / "README.md"
    assert "No result of this kind" in measured.suites(page)
    assert "No result of this kind" in measured.op(page)
    assert measured.tables(page, *measured.TABLES) == ""


def test_the_table_follows_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "attnlang" / "bench" / "results" / "suite-quick-cpu-2026-01-02.json"
    monkeypatch.setattr(files, "newest", lambda kind, on: (path, SUITE) if on == "cpu" else None)
    text = measured.suites(ROOT / "backends" / "README.md")
    assert "| `window` | 4,096 | 3.1 % | 1.50 | 7.89× | 50 % |" in text
    assert f"(../attnlang/bench/results/{path.name})" in text
    assert "- flex: failed, no compiler (everywhere)" in text
    assert json.loads(json.dumps(SUITE)) == SUITE
