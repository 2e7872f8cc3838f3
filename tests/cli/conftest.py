"""Running a command line in this process, in an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from attnlang.cli import main

torch.set_num_threads(1)


@dataclass(frozen=True)
class Done:
    """What a command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]

GOOD = """\
pattern window(size: int = 8):
    over n
    require size >= 1
    attend where causal(n) and band(n, size)
"""
UGLY = "pattern window( size:int=8 ):\n  over n\n  attend where (causal(n)) and band(n,size)\n"
BAD = "pattern p(window: int = 8):\n    over n\n    attend where q.n - k.n < windw\n"
BROKEN = "pattern p:\n    over n\n    attend where q.n = k.n\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``run("check", "good.attn")``; good, ugly, bad and broken files are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name, text in (("good", GOOD), ("ugly", UGLY), ("bad", BAD), ("broken", BROKEN)):
        (tmp_path / f"{name}.attn").write_text(text, encoding="utf-8")

    def once(*words: str) -> Done:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return once
