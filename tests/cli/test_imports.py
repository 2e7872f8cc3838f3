"""Light commands stay light: what is never imported is never waited for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "sympy", "matplotlib", "numpy", "networkx", "islpy", "rich", "triton")


@pytest.mark.parametrize(
    "line",
    [
        "import attnlang",
        "import attnlang; attnlang.stdlib.info('causal')",
        "from attnlang.cli import main; main(['check', 'stdlib:causal'])",
        "from attnlang.cli import main; main(['list'])",
        "from attnlang.cli import main; main(['list', '--json'])",
        "from attnlang.cli import main; main(['explain', 'AL101'])",
        "from attnlang.cli import main; main(['new', 'p', '--out', '-'])",
        "from attnlang.cli import main; main(['--help'])",
    ],
)
def test_light(line: str) -> None:
    assert heavy(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        "from attnlang.cli import main; main(['show', 'stdlib:causal'])",
        "from attnlang.cli import main; main(['diff', 'stdlib:causal', 'stdlib:full'])",
        "import attnlang; attnlang.load('stdlib:causal').plan({'n': 64})",
    ],
)
def test_without_torch(line: str) -> None:
    assert "torch" not in heavy(line)
    assert "matplotlib" not in heavy(line)


def heavy(line: str) -> str:
    """The heavy packages that a program imports."""
    code = (
        f"import sys\n{line}\n"
        f"found = {{n.split('.')[0] for n in sys.modules}} & {set(HEAVY)!r}\n"
        "print(*sorted(found), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    return done.stderr.splitlines()[-1]


def test_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attnlang", "check", "stdlib:causal"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0
    assert done.stdout.startswith("ok: 1 pattern in ")
