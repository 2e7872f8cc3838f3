"""check, fmt, list, new and explain CODE: commands about texts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import attnlang
from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from tests.cli.conftest import GOOD, UGLY, Run


def test_check(run: Run) -> None:
    done = run("check", "good.attn", "stdlib:sliding_window")
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "ok: 1 pattern in good.attn"
    assert lines[1].startswith("ok: 1 pattern in stdlib/")


def test_check_counts_functions(run: Run) -> None:
    text = "def f(x: int) -> int:\n    return x\n\n" + GOOD
    Path("f.attn").write_text(text, encoding="utf-8")
    assert run("check", "f.attn").out == "ok: 1 pattern, 1 function in f.attn\n"


def test_check_reports_every_file(run: Run) -> None:
    done = run("check", "bad.attn", "good.attn", "broken.attn", "missing.attn")
    assert done.code == 1
    assert done.out == "ok: 1 pattern in good.attn\n"
    for code in ("AL101", "AL010", "AL001"):
        assert f"error[{code}]" in done.err
    assert done.err.rstrip().endswith("3 errors")


def test_check_a_folder(run: Run) -> None:
    done = run("check", ".")
    assert done.code == 1
    assert "ok: 1 pattern in good.attn" in done.out


def test_check_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(GOOD))
    assert run("check", "-").out == "ok: 1 pattern in <stdin>\n"


@pytest.mark.parametrize("flags", [("--json",), ("--format", "json")])
def test_check_json(run: Run, flags: tuple[str, ...]) -> None:
    done = run("check", "bad.attn", "good.attn", *flags)
    assert done.code == 1
    assert done.err == ""
    data = done.json
    assert data["schema"] == "attnlang.check/1"
    assert data["ok"] is False
    assert [(f["file"], f["ok"], f["patterns"]) for f in data["files"]] == [
        ("bad.attn", False, ["p"]),
        ("good.attn", True, ["window"]),
    ]
    assert [d["code"] for d in data["diagnostics"]] == ["AL101"]


def test_check_sarif(run: Run) -> None:
    done = run("check", "bad.attn", "--format", "sarif")
    assert done.code == 1
    assert done.json["version"] == "2.1.0"
    assert done.json["runs"][0]["results"][0]["ruleId"] == "AL101"


def test_fmt_rewrites_once(run: Run) -> None:
    done = run("fmt", "ugly.attn", "good.attn")
    assert done.code == 0
    assert done.out == "changed: ugly.attn\n"
    assert done.err == "1 file changed, 1 fine\n"
    assert Path("ugly.attn").read_text(encoding="utf-8") == GOOD.replace(
        "    require size >= 1\n", ""
    )
    assert run("fmt", "ugly.attn").out == ""
    assert sorted(p.name for p in Path().iterdir()) == [
        "bad.attn", "broken.attn", "good.attn", "ugly.attn",
    ]  # fmt: skip


def test_fmt_check_and_diff_write_nothing(run: Run) -> None:
    done = run("fmt", "--check", "ugly.attn", "good.attn")
    assert done.code == 1
    assert done.out == "would change: ugly.attn\n"
    done = run("fmt", "--diff", "ugly.attn")
    assert done.code == 0
    assert "\n-pattern window( size:int=8 ):\n" in done.out
    assert "\n+pattern window(size: int = 8):\n" in done.out
    assert Path("ugly.attn").read_text(encoding="utf-8") == UGLY
    assert run("fmt", "--check", "good.attn").code == 0


def test_fmt_leaves_what_does_not_parse(run: Run) -> None:
    done = run("fmt", "ugly.attn", "broken.attn")
    assert done.code == 1
    assert "error[AL010]" in done.err
    assert Path("ugly.attn").read_text(encoding="utf-8") == UGLY


def test_fmt_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(UGLY))
    done = run("fmt", "-")
    assert done.out == GOOD.replace("    require size >= 1\n", "")
    assert done.err == ""


def test_fmt_json(run: Run) -> None:
    done = run("fmt", "ugly.attn", "good.attn", "--check", "--json")
    assert done.code == 1
    assert done.json == {
        "schema": "attnlang.fmt/1",
        "written": False,
        "files": [
            {"file": "ugly.attn", "changed": True},
            {"file": "good.attn", "changed": False},
        ],
    }


def test_list(run: Run) -> None:
    done = run("list")
    assert done.code == 0
    for name in attnlang.stdlib.names():
        assert f"  {name} " in done.out
    only = run("list", "--family", "neighborhoods").out
    assert "neighborhood_2d" in only
    assert "sliding_window" not in only


def test_list_json(run: Run) -> None:
    data = run("list", "--json").json
    assert data["schema"] == "attnlang.list/1"
    by_name = {p["name"]: p for p in data["patterns"]}
    assert set(by_name) == set(attnlang.stdlib.names())
    window = by_name["sliding_window"]
    assert window["params"]["window"] == {"type": "int", "default": 4096}
    assert window["arxiv"] == "2310.06825"
    assert window["backends"] == ["reference", "blocked", "triton"]
    assert by_name["lca_causal_document"]["inputs"] == {"doc": "int[batch, n] sorted"}


def test_info_agrees_with_the_pattern() -> None:
    for name in attnlang.stdlib.names():
        info = attnlang.stdlib.info(name)
        assert (info.name, info.family) == (name, attnlang.stdlib.family(name))
        assert info.summary
        pattern = attnlang.load(f"stdlib:{name}")
        assert list(info.params) == list(pattern.params)
        assert info.axes == pattern.axes
        assert list(info.inputs) == list(pattern.inputs)
        assert "reference" in info.backends


@pytest.mark.parametrize("axes", ["n", "y,x", "t,y,x", "row"])
def test_new(run: Run, axes: str) -> None:
    done = run("new", "mine", "--axes", axes)
    assert done.code == 0
    assert done.out == "wrote mine.attn\n"
    assert run("check", "mine.attn").code == 0
    assert run("fmt", "--check", "mine.attn").code == 0
    assert run("show", "mine.attn").code == 0
    pattern = attnlang.load("mine.attn")
    assert pattern.axes == tuple(axes.split(","))
    assert run("new", "mine").code == 2


def test_new_elsewhere(run: Run) -> None:
    assert run("new", "mine", "--out", "other.attn").code == 0
    assert Path("other.attn").is_file()
    text = run("new", "mine", "--out", "-").out
    assert text == Path("other.attn").read_text(encoding="utf-8")
    data = run("new", "mine", "--json").json
    assert data == {"schema": "attnlang.new/1", "pattern": "mine", "out": "mine.attn", "text": text}


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("a-b", "n"),
        ("head", "n"),
        ("p", "a,b,c,d"),
        ("p", "p"),
        ("p", "n,n"),
        ("p", "len"),
        ("p", ""),
    ],
)
def test_new_refuses_names_that_cannot_be(run: Run, name: str, axes: str) -> None:
    assert run("new", name, "--axes", axes).code == 2
    assert not list(Path().glob(f"{name}.attn"))


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_explain_code(run: Run, code: str) -> None:
    done = run("explain", code.lower())
    assert done.code == 0
    entry = CATALOGUE[code]
    assert done.out.startswith(f"{code}: {entry.title}\n")
    assert ("\nwrong" in done.out) is bool(entry.wrong)
    assert all(c.isprintable() or c == "\n" for c in done.out)
    data = run("explain", code, "--json").json
    assert data["schema"] == "attnlang.code/1"
    assert data["explanation"] == entry.explanation


SPARE = (
    "pattern p(window: int = 8, spare: int = 1):\n    over n\n    attend where band(n, window)\n"
)


def test_check_warns_and_passes(run: Run) -> None:
    Path("spare.attn").write_text(SPARE, encoding="utf-8")
    done = run("check", "spare.attn")
    assert (done.code, done.out) == (0, "ok: 1 pattern in spare.attn\n")
    assert done.err.startswith("warning[AL501]: parameter `spare` is never used\n")


def test_compile_warns_and_compiles(run: Run) -> None:
    Path("spare.attn").write_text(SPARE, encoding="utf-8")
    done = run("compile", "spare.attn", "--size", "n=64", "--out", "built")
    assert done.code == 0
    assert "warning[AL501]: parameter `spare` is never used" in done.err
    assert Path("built/manifest.json").is_file()
