"""The content hash: what it depends on, and what not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings

import attnlang
from attnlang.compiler.ir.canonical import canonical_text
from tests.strategies import Program, programs

PLAIN = """
pattern p(window: int = 8):
    over n
    require window >= 1
    attend where causal(n) and q.n - k.n < window
"""
DRESSED = '''
# A comment.
def near_enough(a: axis, w: int) -> bool:
    """A function of its own."""
    let apart = q.a - k.a
    return apart < w

pattern other_name(window: int = 8):
    """A docstring."""
    paper "Some Paper" year 2024 arxiv "2401.00001"
    fidelity verified
    over n
    require window >= 1, "a message"
    let before = causal(n)
    attend where before and near_enough(n, window)
'''


def digest(text: str, **params: object) -> str:
    return attnlang.parse(text, **params).hash


def test_words_for_people_do_not_count() -> None:
    assert digest(PLAIN) == digest(DRESSED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("< window", "<= window"),
        ("window >= 1", "window >= 2"),
        ("= 8", "= 9"),
        ("causal(n)", "same(n)"),
        ("over n", "over n\n    prefix cls: 1"),
        ("over n", "over n\n    input doc: int[batch, n]"),
        ("attend where causal(n) and", "attend where"),
        ("< window\n", "< window empty self\n"),
        ("< window\n", "< window\n        score s + 1.0\n"),
        ("< window\n", "< window\n        sink 0.0\n"),
        ("(window: int = 8)", "(window: int = 8, unused: bool = true)"),
    ],
)
def test_everything_else_does(old: str, new: str) -> None:
    changed = PLAIN.replace(old, new)
    if "prefix" in new:
        changed = changed.replace("attend where", "attend where q in cls or k in cls or")
    assert digest(changed) != digest(PLAIN)


def test_values_count() -> None:
    assert digest(PLAIN, window=9) != digest(PLAIN)
    assert digest(PLAIN, window=9) == digest(PLAIN.replace("= 8", "= 9"))


def test_choices_count() -> None:
    patterns = [attnlang.load("stdlib:longlora_s2", edge=edge) for edge in ("truncate", "wrap")]
    assert patterns[0].hash != patterns[1].hash


def test_the_same_in_every_process() -> None:
    code = "import attnlang; print(attnlang.load('stdlib:neighborhood_3d').hash)"
    found = set()
    for seed in ("1", "2"):
        env = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **env},
        )
        found.add(done.stdout.strip())
    assert found == {attnlang.load("stdlib:neighborhood_3d").hash}


def test_shared_parts_are_written_once() -> None:
    lines = ["pattern p:", "    over n", "    let a0 = q.n + k.n"]
    lines += [f"    let a{i} = a{i - 1} + a{i - 1}" for i in range(1, 10)]
    text = "\n".join([*lines, "    attend where a9 > 0", ""])
    assert len(canonical_text(attnlang.parse(text).ir).splitlines()) < 40


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=50)
@given(programs(axes=("y", "x"), longest=5))
def test_the_canonical_form_of_the_file_keeps_it(program: Program) -> None:
    assert attnlang.parse(program.pattern.text).hash == program.pattern.hash
