"""The command line as a whole: exit codes, help, mistakes of the user and of attnlang."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from attnlang.cli.app import COMMANDS
from attnlang.cli.commands import list as list_command
from tests.cli.conftest import Run


def test_overview(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)
    assert "examples:" in done.out
    assert run().code == 2
    assert run("--version").out.startswith("attnlang ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert "\nexamples:\n  attnlang " in done.out
    assert 2 <= done.out.count(f"attnlang {command} ") - 1 <= 5 or command == "list"
    assert "--json" in done.out
    assert "--color" in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert run("help", command).out == done.out


@pytest.mark.parametrize(
    ("words", "message", "help"),
    [
        (("explian",), "no command `explian`", "`explain`"),
        (("--helo",), "no option `--helo`", "`attnlang --help`"),
        (("explain", "good.attn", "--szie", "n=3"), "takes no `--szie`", "`--size`"),
        (("explain", "good.attn"), "length of `n` is not known", "--size n=64"),
        (("explain", "good.attn", "--size", "m=3"), "no axis or segment `m`", "`n`"),
        (("explain", "good.attn", "--size", "n"), "`n` is not NAME=VALUE", "--size n=1024"),
        (("explain", "good.attn", "--size", "n=x"), "not `x`", ""),
        (("explain", "good.attn", "--size", "n=4", "--heads", "0"), "not a whole number", "--help"),
        (("explain", "causl"), "no library pattern `causl`", "`stdlib:causal`"),
        (("explain", "AL999"), "no error code `AL999`", "AL001"),
        (("show", "good.attn", "--out", "x.gif"), "`x.gif`", ""),
        (("show", "good.attn", "--tile", "1,2"), "one extent for each axis: n", ""),
        (("show", "good.attn", "--head", "1"), "no head 1", "--heads"),
        (("show", "good.attn", "--elements", "--size", "n=9999"), "9999 tokens", "--tiles"),
        (("show",), "required: TARGET", "show --help"),
        (("list", "--family", "neighbourhoods"), "no family", "`neighborhoods`"),
        (("compile", "good.attn", "--size", "n=4"), "required: --out", ""),
    ],
)
def test_usage(run: Run, words: tuple[str, ...], message: str, help: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert done.out == ""
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert help in "".join(rest)
    assert "Traceback" not in done.err


def test_usage_as_json(run: Run) -> None:
    done = run("explain", "good.attn", "--json")
    assert done.code == 2
    assert done.err == ""
    assert done.json["schema"] == "attnlang.error/1"
    assert done.json["error"]["kind"] == "usage"


@pytest.mark.parametrize(
    "words",
    [
        ("show", "bad.attn"),
        ("explain", "bad.attn", "--size", "n=4"),
        ("compile", "bad.attn", "--size", "n=4", "--out", "made"),
        ("diff", "good.attn", "bad.attn"),
        ("check", "bad.attn"),
    ],
)
def test_mistakes_in_patterns_are_rendered(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error[AL101]: `windw` is not defined\n --> bad.attn:3:30\n")
    assert "did you mean `window`?" in done.err


def test_mistakes_in_patterns_as_json(run: Run) -> None:
    done = run("show", "bad.attn", "--json")
    assert done.code == 1
    assert done.json["schema"] == "attnlang.diagnostics/1"
    assert done.json["diagnostics"][0]["code"] == "AL101"


def test_a_missing_file(run: Run) -> None:
    done = run("show", "no/such.attn")
    assert done.code == 1
    assert "error[AL001]: cannot read no/such.attn" in done.err


def test_a_choice_left_open(run: Run) -> None:
    text = (
        "pattern a:\n    over n\n    attend where true\n\n"
        "pattern b:\n    over n\n    attend where causal(n)\n"
    )
    Path("two.attn").write_text(text, encoding="utf-8")
    done = run("show", "two.attn")
    assert done.code == 2
    assert "two.attn:a, two.attn:b" in done.err
    assert run("show", "two.attn:b").code == 0


def test_internal_errors_are_owned_up_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise KeyError("lost")

    monkeypatch.setattr(list_command, "run", broken)
    monkeypatch.delenv("ATTNLANG_DEBUG", raising=False)
    done = run("list")
    assert done.code == 3
    assert done.err.startswith("error: KeyError: 'lost'\n")
    assert "please report" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("ATTNLANG_DEBUG", "1")
    assert "Traceback" in run("list").err
    assert run("list", "--json").json["error"]["kind"] == "internal"


def test_interrupting_is_no_error_of_anyone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_command, "run", slow)
    done = run("list")
    assert (done.code, done.err) == (130, "interrupted\n")


def test_colours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" not in run("check", "bad.attn").err
    assert "\x1b[31m" in run("check", "bad.attn", "--color", "always").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("check", "bad.attn").err
