"""What is generated is current: the README's blocks, its pictures, the links for type checkers."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from attnlang.cli import main
from attnlang.picture import svg

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STALE = "run `make generate`"
sys.path.append(str(ROOT / "examples"))


def script(path: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / path))


def test_readme_blocks() -> None:
    make = script("examples/make_readme.py")
    for page in make["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert make["timeless"](make["current"](text, page)) == make["timeless"](text), STALE


def test_pictures() -> None:
    make = script("examples/make_pictures.py")
    there = {p.name for p in make["FOLDER"].iterdir() if p.is_file()}
    assert there == set(make["PICTURES"]), STALE
    for name, draw in make["PICTURES"].items():
        text = (make["FOLDER"] / name).read_text(encoding="utf-8")
        assert text == svg.render(draw()), f"{name}: {STALE}"


def test_gallery_page() -> None:
    make = script("examples/make_gallery.py")
    assert make["page"]() == make["PAGE"].read_text(encoding="utf-8"), STALE


def test_gallery_pictures() -> None:
    make = script("examples/make_gallery.py")
    there = {p.name: p.read_text(encoding="utf-8") for p in make["PICTURES"].iterdir()}
    assert make["pictures"]() == there, STALE


def test_the_gallery_knows_only_patterns_that_are_there() -> None:
    make = script("examples/make_gallery.py")
    assert make["SHOWN"].keys() <= set(make["stdlib"].names())


def test_links_for_type_checkers() -> None:
    links = script("tests/typing/links.py")
    assert links["present"]() == links["wanted"](), STALE


def test_readme_python(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import" in b)
    values: dict[str, Any] = {}
    exec(code, values)
    assert values["q"].grad is not None
    assert "torch.Size([1, 256, 256])" in capsys.readouterr().out


def readme_commands() -> list[str]:
    block = re.search(r"<!-- commands -->\n```\n(.*?)```", README, re.DOTALL)
    assert block
    return [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]


@pytest.mark.parametrize("line", readme_commands())
def test_readme_commands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a folder of its own, with the examples beside it: what is written stays there.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    if "--target" not in words:
        assert main(words) == 0
        return
    # Triton compiles nothing in a process in which it interprets.
    free = {n: x for n, x in os.environ.items() if n != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-m", "attnlang", *words], check=True, env=free)


def test_readme_links() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_every_dependency_has_its_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(x for g in project["optional-dependencies"].values() for x in g),
    ]
    pinned = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8")
    names = {re.split(r"[<>=\[; ]", line)[0] for line in pinned.splitlines() if line[:1].isalpha()}
    assert {re.split(r"[<>=\[; ]", w)[0] for w in wanted} - {"attnlang"} == names
