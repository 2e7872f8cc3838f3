"""Every pattern of the library compiled ahead, and what is left of it where attnlang is not."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attnlang
from attnlang.backends.ahead.bundle import bundled
from attnlang.backends.ahead.directory import HELPERS, LINEAR, compile_pattern
from attnlang.backends.triton import ahead
from attnlang.backends.triton.ahead import Built, cap_for_two, compile_kernel
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import Choice, Shape
from attnlang.backends.triton.form import Tiles
from attnlang.backends.triton.module import write
from attnlang.backends.triton.target import target
from tests.program.library import fitting

ROOT = Path(__file__).parents[2]
NO_DIRECTORY = ("no tokens", "`weigh`", "`gradient`")
"""Why a pattern has kernels and no `attention.py`."""
SAMPLED = ("gla", "nsa")


@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_the_text_of_every_pattern(name: str) -> None:
    """Python that reads back; but for the machine code all that a directory has, twice the same."""
    pattern = attnlang.load(f"stdlib:{name}")
    sizes, (heads, kv_heads, head_dim) = fitting(pattern)
    bind = pattern.problem if pattern.ir.program is None else pattern.bound
    problem = bind(sizes, heads, kv_heads=kv_heads, head_dim=head_dim)
    made = compile_pattern(problem, sizes, (), "bf16", (name,))
    assert made.without == {}
    refused = made.launch.get("refused")
    if refused is not None:
        assert any(why in refused for why in NO_DIRECTORY)
    else:
        texts = {n: x.decode() for n, x in made.files.items() if n.endswith(".py")}
        assert {"attention.py", "launch.py", "tensors.py"} <= {*texts}
        for text in texts.values():
            ast.parse(text)
            assert "import attnlang" not in text
            assert "from attnlang" not in text
    assert compile_pattern(problem, sizes, (), "bf16", (name,)).files == made.files


@pytest.mark.parametrize("modules", [HELPERS, LINEAR], ids=["helpers", "linear"])
def test_bundles_need_nothing_of_ours(modules: tuple[str, ...]) -> None:
    tree = ast.parse(bundled("Words.", modules))
    read = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(str(module).startswith("attnlang") for module in read)


def test_what_fits_no_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Built(1 << 20, 64, 0, True, "", b"")
    monkeypatch.setattr(ahead, "built", lambda *args: large)
    problem = attnlang.load("stdlib:causal").problem({"n": 64})
    form = form_of(problem, problem.groups[0], Tiles(), frozenset())
    kernels = write(problem.pattern, 0, form)
    with pytest.raises(attnlang.Unsupported, match=r"does not fit cuda:90.* 1048576 bytes"):
        compile_kernel(
            kernels.text, kernels.forward, target("cuda:90"), Shape("bf16", 64, 64, (64, 64))
        )


@pytest.mark.parametrize(("spills", "cap"), [(0, 128), (3, None)])
def test_registers_are_capped_for_a_second_program(
    spills: int, cap: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 158 registers for each of 256 threads one program has room, with 128 two; unless the
    rest of what it holds then spills."""

    def built(*args: Any) -> Built:
        capped = args[4].get("maxnreg") == 128
        return Built(48 << 10, *((128, spills) if capped else (158, 0)), True, "", b"")

    monkeypatch.setattr(ahead, "built", built)
    problem = attnlang.load("stdlib:causal").problem({"n": 64})
    form = form_of(problem, problem.groups[0], Tiles(), frozenset())
    kernels = write(problem.pattern, 0, form)
    shape = Shape("bf16", 64, 64, (128, 128))
    made = compile_kernel(kernels.text, kernels.forward, target("cuda:90"), shape)
    assert made.choice.maxnreg == cap
    assert [x.choice.maxnreg for x in made.dropped] == ([] if cap else [128])
    assert made.built.spills == 0
    other = compile_kernel(kernels.text, kernels.forward, target("hip:gfx942"), shape)
    assert other.choice.maxnreg is None


@pytest.mark.parametrize(
    ("registers", "shared", "spills", "warps"),
    [(120, 0, 0, 8), (200, 0, 0, 8), (158, 120 << 10, 0, 8), (158, 0, 1, 8), (180, 0, 0, 4)],
)
def test_no_cap_where_it_gains_nothing(
    registers: int, shared: int, spills: int, warps: int
) -> None:
    made = Built(shared, registers, spills, True, "", b"")
    assert cap_for_two(made, Choice(128, 64, warps, 2), target("cuda:90")) is None


def test_a_bundle_with_a_hole_is_refused() -> None:
    with pytest.raises(ValueError, match="does not come along"):
        bundled("Words.", LINEAR[1:])


def check_compiled(name: str, target: str, folder: Path, *more: str) -> list[dict[str, Any]]:
    """The manifest's kernels."""
    pattern = attnlang.load(f"stdlib:{name}")
    sizes, (heads, kv_heads, head_dim) = fitting(pattern)
    words = [word for n, s in sizes.items() for word in ("--size", f"{n}={s}")]
    words += ["--heads", f"{heads}", "--kv-heads", f"{kv_heads}", "--head-dim", f"{head_dim}"]
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "PYTHONPATH")}
    done = subprocess.run(
        [
            sys.executable, "-m", "attnlang", "compile", f"stdlib:{name}", "--target", target,
            "--out", str(folder / "out"), *words, *more,
        ],
        capture_output=True, text=True, cwd=ROOT, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    for kernel in manifest["kernels"]:
        assert kernel["target"] == target
        assert all((folder / "out" / x).stat().st_size for x in kernel["files"])
    for entry in manifest.get("steps", ()):
        if "attention" in entry["kind"] and "without tokens" not in entry["kind"]:
            assert entry["ahead"], entry
    kernels: list[dict[str, Any]] = manifest["kernels"]
    return kernels


@pytest.mark.parametrize("name", SAMPLED[:1])
def test_a_pattern_compiles(name: str, tmp_path: Path) -> None:
    check_compiled(name, "cuda:90", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_every_pattern_compiles(name: str, tmp_path: Path) -> None:
    check_compiled(name, "cuda:90", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_the_first_choice_of_float32_does_not_spill(width: int, tmp_path: Path) -> None:
    more = ("--dtype", "fp32", "--head-dim", f"{width}")
    for kernel in check_compiled("sliding_window", "cuda:90", tmp_path, *more):
        assert kernel["spills"] == 0
        assert kernel["dropped"] == []


@pytest.mark.long
@pytest.mark.parametrize("target", ["cuda:80", "cuda:100", "hip:gfx942"])
@pytest.mark.parametrize("name", SAMPLED)
def test_other_machines(name: str, target: str, tmp_path: Path) -> None:
    check_compiled(name, target, tmp_path)
