"""compile: what the directory holds, and that it is there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlang
from attnlang.cli import artifact
from tests.cli.conftest import Run
from tests.program.library import fitting


def manifest(folder: str) -> Any:
    return json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))


def test_directory(run: Run) -> None:
    done = run(
        "compile",
        "good.attn",
        "--size",
        "n=512",
        "--heads",
        "4",
        "--set",
        "size=32",
        "--out",
        "a/b",
    )
    assert done.code == 0
    assert done.out.startswith("wrote a/b: window for the blocked backend")
    assert sorted(p.name for p in Path("a/b").iterdir()) == [
        "manifest.json", "pattern.attn", "plan.npz",
    ]  # fmt: skip
    assert [p.name for p in Path("a").iterdir()] == ["b"]
    data = manifest("a/b")
    pattern = attnlang.load("good.attn", size=32)
    plan = pattern.plan({"n": 512}, 4)
    assert data["schema"] == "attnlang.manifest/1"
    assert data["attnlang"] == attnlang.__version__
    assert data["hash"] == pattern.hash
    assert data["params"] == {"size": 32}
    assert data["sizes"] == {"n": 512}
    assert (data["heads"], data["kv_heads"]) == (4, 4)
    assert data["backend"] == "blocked"
    assert data["pairs"] == plan.pairs
    assert {k: data["tiles"][k] for k in ("full", "partial", "empty")} == plan.tiles
    assert data["facts"]["causal"] is True
    assert data["verified"] is None


@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_the_text_stands_alone(run: Run, name: str) -> None:
    sizes, (heads, kv_heads, head_dim) = fitting(attnlang.load(f"stdlib:{name}"))
    words = [word for n, s in sizes.items() for word in ("--size", f"{n}={s}")]
    words += ["--heads", f"{heads}", "--kv-heads", f"{kv_heads}", "--head-dim", f"{head_dim}"]
    done = run("compile", f"stdlib:{name}", *words, "--out", "made")
    assert done.code == 0, done.err
    text = Path("made/pattern.attn").read_text(encoding="utf-8")
    assert attnlang.parse(text, name).hash == attnlang.load(f"stdlib:{name}").hash
    assert run("fmt", "--check", "made/pattern.attn").code == 0


def test_functions_of_the_file_come_along(run: Run) -> None:
    Path("f.attn").write_text(
        "def twice(x: int) -> int:\n    return 2 * x\n\n"
        "def unused(x: int) -> int:\n    return x\n\n"
        "def causal(a: axis) -> bool:\n    return k.a < twice(q.a)\n\n"
        "pattern other:\n    over n\n    attend where true\n\n"
        "pattern p:\n    over n\n    attend where causal(n)\n",
        encoding="utf-8",
    )
    assert run("compile", "f.attn:p", "--size", "n=16", "--out", "made").code == 0
    text = Path("made/pattern.attn").read_text(encoding="utf-8")
    assert "def twice" in text
    assert "unused" not in text
    assert "other" not in text
    assert attnlang.parse(text, "p").hash == attnlang.load("f.attn:p").hash


def test_the_plan_of_runs(run: Run) -> None:
    words = ("--size", "n=300", "--set", "sinks=2", "--set", "window=20", "--out", "made")
    assert run("compile", "stdlib:sliding_window", *words).code == 0
    arrays = np.load("made/plan.npz", allow_pickle=False)
    plan = attnlang.load("stdlib:sliding_window", sinks=2, window=20).plan({"n": 300})
    table = plan.heads[0].table
    assert arrays["group0.heads"].tolist() == [0]
    assert np.array_equal(arrays["q.tokens"], plan.layout.q.tokens)
    if plan.heads[0].boxes is None:
        for field in ("offsets", "starts", "stops", "full"):
            assert np.array_equal(arrays[f"group0.{field}"], getattr(table, field))


def test_the_plan_of_boxes(run: Run) -> None:
    words = ("--size", "y=16", "--size", "x=16", "--set", "window=3", "--out", "made")
    assert run("compile", "stdlib:neighborhood_2d", *words).code == 0
    arrays = np.load("made/plan.npz", allow_pickle=False)
    boxes = (
        attnlang.load("stdlib:neighborhood_2d", window=3).plan({"y": 16, "x": 16}).heads[0].boxes
    )
    assert boxes is not None
    box = boxes.single
    assert box is not None
    assert arrays["group0.box0.key_tile"].tolist() == list(box.k_tile)
    for axis, reach in zip("yx", box.reaches, strict=True):
        assert np.array_equal(arrays[f"group0.box0.{axis}.starts"], reach.starts)
        assert np.array_equal(arrays[f"group0.box0.{axis}.counts"], reach.counts)


def test_the_same_twice(run: Run) -> None:
    for out in ("one", "two"):
        assert run("compile", "good.attn", "--size", "n=128", "--out", out).code == 0
    for name in ("pattern.attn", "manifest.json", "plan.npz"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("good.attn", ("--size", "n=100", "--heads", "2")),
        ("good.attn", ("--size", "n=3000", "--heads", "4", "--kv-heads", "2", "--head-dim", "8")),
        ("stdlib:longlora_s2", ("--size", "n=64", "--heads", "4")),
        ("stdlib:lca_causal_document", ("--size", "n=64")),
        ("stdlib:lca_causal_document", ("--input", "doc=0*40,1*24")),
        ("stdlib:alibi", ("--size", "n=64", "--heads", "4", "--backend", "reference")),
    ],
)
def test_verify(run: Run, target: str, words: tuple[str, ...]) -> None:
    done = run("compile", target, *words, "--verify", "--out", "made", "--json")
    assert done.code == 0, done.err
    verified = done.json["verified"]
    assert done.json == manifest("made")
    assert verified["passed"] is True
    assert set(verified["errors"]) == {"out", "lse", "dq", "dk", "dv"}
    assert verified["worst"] == max(verified["errors"].values()) < 1e-4
    assert max(verified["sizes"].values()) <= 1024
    inputs = "given" if "--input" in words else "random" if "document" in target else "none"
    assert verified["inputs"] == inputs


def test_verify_tells_of_errors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlang.cli import verify

    monkeypatch.setattr(verify, "_error", lambda x, y: float("inf"))
    done = run("compile", "good.attn", "--size", "n=16", "--verify", "--out", "made")
    assert done.code == 1
    assert "DIFFERS from the reference at n=16: largest error infinite" in done.out
    assert manifest("made")["verified"]["passed"] is False


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("good.attn", "--size", "n=8", "--set", "size=0"), 1),
        (("good.attn", "--size", "n=8", "--set", "sze=1"), 1),
        (("good.attn", "--size", "n=8", "--set", "size=wide"), 1),
        (("good.attn", "--size", "m=8"), 2),
        (("good.attn",), 2),
        (("bad.attn", "--size", "n=8"), 1),
        (("broken.attn", "--size", "n=8"), 1),
        (("stdlib:lca_causal_document", "--size", "n=8", "--input", "doc=1,2"), 1),
    ],
)
def test_nothing_is_written_on_errors(run: Run, words: tuple[str, ...], code: int) -> None:
    before = sorted(p.name for p in Path().iterdir())
    assert run("compile", *words, "--out", "made").code == code
    assert sorted(p.name for p in Path().iterdir()) == before


def test_a_failure_while_writing_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(arrays: object) -> bytes:
        raise OSError(28, "No space left on device")

    before = sorted(p.name for p in Path().iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_npz", full)
        done = run("compile", "good.attn", "--size", "n=8", "--out", "made")
        assert done.code == 2
        assert "No space left on device" in done.err
    assert sorted(p.name for p in Path().iterdir()) == before
    assert run("compile", "good.attn", "--size", "n=8", "--out", "made").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_npz", full)
        run("compile", "good.attn", "--size", "n=16", "--force", "--out", "made")
    assert manifest("made")["sizes"] == {"n": 8}


def test_force(run: Run) -> None:
    first = ("compile", "good.attn", "--size", "n=8", "--out", "made")
    assert run(*first).code == 0
    done = run(*first)
    assert done.code == 2
    assert "--force replaces it" in done.err
    assert run("compile", "good.attn", "--size", "n=16", "--out", "made", "--force").code == 0
    assert manifest("made")["sizes"] == {"n": 16}
    assert not [p for p in Path().iterdir() if p.name.startswith(".")]


def test_force_spares_what_is_not_ours(run: Run) -> None:
    Path("photos").mkdir()
    Path("photos/cat.txt").write_text("meow", encoding="utf-8")
    done = run("compile", "good.attn", "--size", "n=8", "--out", "photos", "--force")
    assert done.code == 2
    assert Path("photos/cat.txt").is_file()
    assert run("compile", "good.attn", "--size", "n=8", "--out", "good.attn").code == 2


def test_backends(run: Run) -> None:
    Path("h.attn").write_text(
        "pattern h:\n    over n\n    input keep: bool[head, n]\n"
        "    attend where k.keep empty zero\n",
        encoding="utf-8",
    )
    done = run("compile", "h.attn", "--size", "n=8", "--backend", "blocked", "--out", "made")
    assert done.code == 1
    assert "does not support an input per head (`keep`) in `where`" in done.err
    done = run("compile", "h.attn", "--size", "n=8", "--out", "made")
    assert done.code == 0
    assert manifest("made")["backend"] == "reference"
    assert manifest("made")["planned_without"] == ["keep"]
