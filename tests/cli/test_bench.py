"""``attnlang bench suite`` from its words to its files."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import torch

from attnlang import stdlib
from attnlang.bench import explain
from attnlang.bench.suite import run as suite
from attnlang.bench.suite.contender import Contender
from attnlang.bench.suite.measure import Patience
from attnlang.cli.console import Console
from attnlang.cli.progress import steps
from tests.bench.conftest import absent, tiny_step
from tests.cli.conftest import Run


def test_the_command(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suite.flex, "CONTENDER", Contender("flex", absent))
    monkeypatch.setattr(suite, "steps", lambda scale, only: (tiny_step("window"),))
    monkeypatch.setitem(suite.PATIENCE, "quick", Patience(0.0, 60.0, 1))  # type: ignore[arg-type]
    done = run("bench", "suite", "--quick", "--device", "cpu", "--json", "--out", "results")
    assert done.code == 0
    assert done.json["rows"][0]["workload"] == "window"
    assert done.json["circumstances"]["versions"]["torch"] == torch.__version__
    assert "1/1 window" in done.err
    (written,) = (tmp_path / "results").glob("*.json")
    assert json.loads(written.read_text(encoding="utf-8")) == done.json
    assert len(list((tmp_path / "results").glob("*.svg"))) == 2


def test_reports_of_patterns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "LENGTHS", {1: ((256,),)})
    done = run("bench", "explain", "--only", "lca_causal", "--json")
    assert done.code == 0
    rows = done.json["rows"]
    names = [n for n in stdlib.names() if n.startswith("lca_causal")]
    assert [r["pattern"] for r in rows if not r["inputs"]] == names
    assert done.json["unsized"] == []
    assert done.json["under"] == sum(r["seconds"] < done.json["target_s"] for r in rows)
    assert f"of {len(rows)} reports" in explain.table(done.json)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("suite", "--only", "nobody"), "no workload begins with `nobody`"),
        (("plan", "--quick"), "`bench plan` takes no `--quick`"),
        (("suite", "--device", "cuda"), "PyTorch sees no GPU"),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], message: str) -> None:
    if torch.cuda.is_available() and "cuda" in words:
        pytest.skip("there is a GPU")
    done = run("bench", *words)
    assert done.code == 2
    assert message in done.err


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [StringIO, Terminal])
def test_progress_names_the_steps(stream: type[StringIO]) -> None:
    err = stream()
    with steps(["one", "two"], Console(StringIO(), err)) as tell:
        tell("one")
        tell("one: a detail")
        tell("two")
    said = err.getvalue()
    if stream is Terminal:
        assert "two" in said
    else:
        assert said == "1/2 one\n2/2 two\n"
