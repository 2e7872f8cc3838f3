"""The house rules: where things are, how long files get, and who may know of whom."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"attnlang", "compiler", "backends", "stdlib", "tests", "examples"}
FILES = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md"}
CODE = {".py", ".pyi", ".attn", ".lark"}
LONGEST = 400
MAY_BE_LONGER: set[str] = set()


def tracked() -> list[str]:
    """Every file of the project: tracked by git, or new and not ignored."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


def text_of(name: str) -> str | None:
    data = (ROOT / name).read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def test_the_top_level_is_fixed() -> None:
    top = {name.split("/")[0]: "/" in name for name in tracked()}
    folders = {name for name, folder in top.items() if folder and not name.startswith(".")}
    files = {name for name, folder in top.items() if not folder and not name.startswith(".")}
    assert folders <= FOLDERS
    assert files <= FILES


def test_files_are_short() -> None:
    """One idea a file; nothing is excused."""
    long = {}
    for name in tracked():
        if Path(name).suffix in CODE and name not in MAY_BE_LONGER:
            lines = (ROOT / name).read_bytes().count(b"\n")
            if lines > LONGEST:
                long[name] = lines
    assert long == {}
    assert not MAY_BE_LONGER


def test_every_folder_of_modules_is_a_package() -> None:
    modules = [
        Path(n) for n in tracked() if n.endswith(".py") and not n.startswith(("examples", "."))
    ]
    folders = {m.parent for m in modules if "typing" not in m.parts and len(m.parts) > 1}
    # compiler/ and backends/ live under attnlang by its __path__, as in the wheel.
    assert {str(f) for f in folders if not (ROOT / f / "__init__.py").is_file()} == set()


def test_no_text_knows_a_machine() -> None:
    """No absolute path of somebody's disk, in code, documents or pictures."""
    somewhere = re.compile(
        r"(?<![\w.<])/(?:home|Users|root|mnt|work|tmp|var/folders)/\w+|[A-Z]:\\\\?Users"
    )
    found = {}
    for name in tracked():
        text = text_of(name)
        if text is not None and name != "tests/project/test_house.py":
            hits = somewhere.findall(text)
            if hits:
                found[name] = hits
    assert found == {}


def imports(path: Path) -> set[str]:
    """Modules that a file names, those imported inside functions and for types included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def reaches(folder: str, prefixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Files below a folder that import a module with one of these prefixes."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        bad = sorted(m for m in imports(path) if any(f"{m}.".startswith(f"{p}.") for p in prefixes))
        if bad:
            found[str(path.relative_to(ROOT))] = bad
    return found


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        ("compiler", ("torch", "triton", "attnlang.backends", "attnlang.api", "attnlang.pattern", "attnlang.op")),
        ("backends", ("attnlang.api", "attnlang.pattern", "attnlang.op", "attnlang.cli")),
        ("backends/reference", ("attnlang.backends.blocked", "attnlang.compiler.analysis", "attnlang.compiler.layout", "attnlang.compiler.plan", "attnlang.compiler.ir.evaluate")),
        ("backends/blocked", ("attnlang.backends.reference",)),
        ("tests/oracles", ("attnlang", "torch")),
        ("compiler/syntax", ("numpy", "attnlang.compiler.sema", "attnlang.compiler.analysis")),
        ("compiler/ir", ("attnlang.compiler.sema", "attnlang.compiler.analysis", "attnlang.compiler.plan")),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_knowledge_flows_one_way(folder: str, strangers: tuple[str, ...]) -> None:
    assert reaches(folder, strangers) == {}
