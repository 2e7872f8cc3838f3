"""The package as it is imported: names, light imports, and examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attnlang

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "triton", "sympy", "matplotlib", "networkx", "islpy", "rich", "scipy"}


def fresh(code: str) -> list[str]:
    """The lines that a new interpreter prints, far from the checkout's folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, cwd=ROOT.anchor, env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


LOADED = "import sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"


@pytest.mark.parametrize(
    "use",
    [
        "import attnlang",
        "import attnlang; attnlang.load('stdlib:neighborhood_2d', window=7).hash",
        "import attnlang; attnlang.load('stdlib:causal').problem({'n': 9})",
        "import attnlang; attnlang.stdlib.names()",
        "import attnlang.cli",
    ],
)
def test_light_imports(use: str) -> None:
    """torch alone takes seconds: whoever checks a file must not wait for it."""
    (line,) = fresh(f"{use}; {LOADED}")
    assert HEAVY & set(line.split()) == set()


def test_planning_needs_no_torch() -> None:
    use = "import attnlang; p = attnlang.load('stdlib:causal').plan({'n': 999}); p.pairs, p.facts"
    (line,) = fresh(f"{use}; {LOADED}")
    assert "torch" not in line.split()


def test_the_folders_are_packages_of_attnlang() -> None:
    names = ("compiler", "backends", "stdlib", "compiler.ir.expr", "backends.call", "cli")
    code = "import importlib\n" + "".join(
        f"print(importlib.import_module('attnlang.{name}').__name__)\n" for name in names
    )
    assert fresh(code) == [f"attnlang.{name}" for name in names]


def test_no_folder_claims_a_name_of_its_own() -> None:
    """Away from the checkout, `compiler` and `backends` are not importable beside attnlang."""
    code = (
        "import importlib.util, attnlang, sys\n"
        f"sys.path.remove({str(ROOT)!r})\n"
        "print([importlib.util.find_spec(n) for n in ('compiler', 'backends', 'stdlib')])"
    )
    assert fresh(code) == ["[None, None, None]"]


def test_public_names() -> None:
    assert all(hasattr(attnlang, name) for name in attnlang.__all__)
    assert sorted(attnlang.__all__) == attnlang.__all__
    assert {"load", "parse", "compile", "stdlib", "Pattern", "PatternError"} <= set(
        attnlang.__all__
    )
    assert attnlang.__version__ == version_of_the_project()


def version_of_the_project() -> str:
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def with_examples() -> list[str]:
    """Modules of the package whose docstrings show a session."""
    found = []
    for folder in ("attnlang", "compiler", "backends", "stdlib"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                name = ".".join(parts if parts[0] == "attnlang" else ("attnlang", *parts))
                found.append(name.removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_public_door_has_examples() -> None:
    assert {"attnlang", "attnlang.api"} <= set(with_examples())
