"""diff: programs step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

PROGRAM = """
pattern program(block: int = 8, count: int = 2, window: int = 5):
    over n
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    select chosen[n, b] from q, kb where (k.b + 1) * block <= q.n
        top count
    near = attend where band(n, window)
    far = attend where chosen[q.n, k.n // 8] and causal(n) empty zero
    return near + far
"""


@pytest.fixture(autouse=True)
def files(run: Run) -> None:
    Path("a.attn").write_text(PROGRAM, encoding="utf-8")


def differ(run: Run, *words: str, code: int = 1) -> dict[str, list[str]]:
    done = run("diff", *words, "--size", "n=64", "--json")
    assert done.code == code, done.err
    found: dict[str, list[str]] = done.json
    return found


def test_a_program_is_itself(run: Run) -> None:
    assert run("diff", "a.attn", "a.attn").out.startswith("identical at every size")
    Path("b.attn").write_text(
        PROGRAM.replace("band(n, window)", "causal(n) and q.n - k.n < window")
    )
    assert differ(run, "a.attn", "b.attn", code=0)["equal"] is True


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ("window=4", ["near"]),
        ("count=3", ["chosen"]),
        ("block=4", ["b", "chosen"]),
    ],
)
def test_what_a_parameter_changes(run: Run, changed: str, steps: list[str]) -> None:
    found = differ(run, "a.attn", "a.attn", "--set-b", changed)
    assert found["different"] == steps
    assert sorted(found["same"] + steps) == sorted(["b", "kb", "chosen", "near", "far", "return"])


def test_pairs_of_an_attention(run: Run) -> None:
    """A window of 5 has 5 N - 10 pairs, one of 4 has 4 N - 6."""
    found = differ(run, "a.attn", "a.attn", "--set-b", "window=4")
    assert found["pairs"] == {
        "near": {"of": [5 * 64 - 10, 4 * 64 - 6], "only_in_a": 64 - 4, "only_in_b": 0}
    }
    text = run("diff", "a.attn", "a.attn", "--set-b", "window=4", "--size", "n=64").out
    assert "near: 60 of 310 pairs only in A, 0 of 250 only in B" in text


def test_steps_that_one_has(run: Run) -> None:
    text = PROGRAM.replace("near + far", "far").replace("    near =", "    other =")
    Path("b.attn").write_text(text, encoding="utf-8")
    found = differ(run, "a.attn", "b.attn")
    assert (found["only_in_a"], found["different"]) == (["near"], ["return"])


def test_a_step_like_any_pattern(run: Run) -> None:
    done = run("diff", "a.attn:program.near", "stdlib:sliding_window", "--set-b", "window=5")
    assert done.code == 0
    assert done.out.startswith("equal at n=1024")


def test_a_program_and_an_attention(run: Run) -> None:
    done = run("diff", "a.attn", "stdlib:causal")
    assert done.code == 1
    assert "A is a program" in done.out
    assert "`program.near`" in done.out
    assert run("diff", "stdlib:causal", "a.attn", "--json").json["kinds"] == [
        "attention",
        "program",
    ]
