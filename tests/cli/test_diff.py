"""diff: counts against brute force, and what differs besides pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

import attnlang
from tests.cli.conftest import Run

WINDOW = "stdlib:sliding_window"


def test_identical(run: Run) -> None:
    done = run("diff", "good.attn", "good.attn")
    assert done.code == 0
    assert done.out.startswith("identical at every size")
    assert run("diff", "good.attn", "good.attn", "--json").json["identical"] is True


def test_equal_but_written_otherwise(run: Run) -> None:
    Path("other.attn").write_text(
        "pattern other(size: int = 8):\n    over n\n    attend where 0 <= q.n - k.n < size\n",
        encoding="utf-8",
    )
    done = run("diff", "good.attn", "other.attn")
    assert done.code == 0
    assert done.out.startswith("equal at n=1024 with 1 head: the same 8,164 pairs")


def test_different(run: Run) -> None:
    words = (
        "diff",
        WINDOW,
        WINDOW,
        "--set-a",
        "window=4",
        "--set-b",
        "window=6",
        "--set",
        "sinks=1",
    )
    data = run(*words, "--size", "n=30", "--json").json
    a, b = (attnlang.load(WINDOW, window=w, sinks=1).mask({"n": 30})[0].numpy() for w in (4, 6))
    assert data["schema"] == "attnlang.diff/1"
    assert data["equal"] is False
    assert data["pairs"] == [int(a.sum()), int(b.sum())]
    assert (data["only_in_a"], data["only_in_b"]) == (int((a & ~b).sum()), int((b & ~a).sum()))
    assert len(data["changes"]) == 5
    for change in data["changes"]:
        place = change["query"], change["key"]
        assert (bool(a[place]), bool(b[place])) == (False, True)
        assert change["only_in"] == "b"
    done = run(*words, "--size", "n=30")
    assert done.code == 1
    assert "query 5, key 1: only in B" in done.out


def test_by_head(run: Run) -> None:
    words = ("diff", "stdlib:longlora_s2", "stdlib:longlora_s2", "--set-b", "edge=wrap")
    data = run(*words, "--size", "n=32", "--json").json
    assert data["heads"] == 4
    masks = [
        attnlang.load("stdlib:longlora_s2", edge=x).mask({"n": 32}, 4) for x in ("truncate", "wrap")
    ]
    a, b = (m.numpy() for m in masks)
    assert (data["only_in_a"], data["only_in_b"]) == (int((a & ~b).sum()), int((b & ~a).sum()))
    assert {c["head"] for c in data["changes"]} == {2}


def test_documents(run: Run) -> None:
    words = ("diff", "stdlib:lca_causal_document", "stdlib:causal")
    data = run(*words, "--input", "doc=0*3,1*4", "--json").json
    assert data["sizes"] == {"n": 7}
    assert (data["only_in_a"], data["only_in_b"]) == (0, 12)
    assert run(*words).code == 2


@pytest.mark.parametrize(
    ("clause", "name"),
    [
        ("\n        score s + 0.5 * (k.n - q.n)", "score"),
        ("\n        sink 0.0", "sink"),
        ("\n        scale 0.5", "scale"),
        ("\n        softcap 20.0", "score"),
    ],
)
def test_clauses(run: Run, clause: str, name: str) -> None:
    plain = "pattern p:\n    over n\n    attend where causal(n)"
    Path("plain.attn").write_text(plain + "\n", encoding="utf-8")
    Path("edited.attn").write_text(plain + clause + "\n", encoding="utf-8")
    done = run("diff", "plain.attn", "edited.attn", "--size", "n=16")
    assert done.code == 1
    assert f"`{name}` gives other values" in done.out
    data = run("diff", "plain.attn", "edited.attn", "--size", "n=16", "--json").json
    assert data["clauses"] == {name: [0]}
    assert data["only_in_a"] == data["only_in_b"] == 0


def test_scores_are_compared_by_value(run: Run) -> None:
    plain = "pattern p:\n    over n\n    attend where causal(n)\n        score "
    Path("a.attn").write_text(plain + "s - 0.5 * (q.n - k.n)\n", encoding="utf-8")
    Path("b.attn").write_text(plain + "s + (k.n - q.n) / 2\n", encoding="utf-8")
    assert run("diff", "a.attn", "b.attn", "--size", "n=16").code == 0


def test_other_axes(run: Run) -> None:
    done = run("diff", "stdlib:causal", "stdlib:neighborhood_2d")
    assert done.code == 1
    assert done.out == "different: A is over n, B is over y, x\n"
    assert run("diff", "stdlib:causal", "stdlib:neighborhood_2d", "--json").json["equal"] is False


def test_parameters_too_long_to_matter_are_told(run: Run) -> None:
    done = run("diff", WINDOW, "stdlib:causal", "--size", "n=64")
    assert done.code == 0
    assert "window=4096 is as long as the axis or longer" in done.err


def test_unknown_names(run: Run) -> None:
    for words in (("--set", "windw=3"), ("--input", "doc=1"), ("--size", "m=3")):
        assert run("diff", WINDOW, "stdlib:causal", *words).code == 2
