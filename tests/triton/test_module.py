"""Generated modules: deterministic, readable, for every length, and on their own."""

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
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.form import Tiles
from attnlang.backends.triton.module import Kernels, write
from tests.triton.test_attention import chosen_for

ROOT = Path(__file__).parents[2]
NAMES = ["forward", "split_forward", "merge", "query_gradient", "key_gradient"]


def kernels(name: str, sizes: dict[str, int], heads: int = 2) -> Kernels:
    pattern = attnlang.load(f"stdlib:{name}")
    problem = pattern.problem(sizes, heads)
    form = form_of(problem, problem.groups[0], Tiles(), frozenset())
    write.cache_clear()
    return write(pattern.ir, 0, form)


def test_the_text_is_the_same_every_time_and_at_every_length() -> None:
    texts = {kernels("alibi", {"n": n}).text for n in (17, 17, 4096, 2**20)}
    assert len(texts) == 1


def test_the_text_says_what_it_was_made_from() -> None:
    text = kernels("streaming_sink", {"n": 64}).text
    pattern = attnlang.load("stdlib:streaming_sink")
    assert pattern.hash in text
    assert pattern.meta.arxiv is not None
    assert pattern.meta.arxiv in text
    assert "attend where" in text
    names = [x.name for x in ast.parse(text).body if isinstance(x, ast.FunctionDef)]
    assert names[-5:] == NAMES


@pytest.mark.parametrize(
    ("name", "sizes", "called"),
    [
        ("sliding_window", {"n": 64}, set()),
        ("softcap", {"n": 64}, {"safe_tanh"}),
        ("neighborhood_1d", {"n": 64}, {"floordiv", "floormod"}),
    ],
)
def test_a_module_holds_the_functions_that_its_kernels_call(
    name: str, sizes: dict[str, int], called: set[str]
) -> None:
    tree = ast.parse(kernels(name, sizes).text)
    held = {x.name for x in tree.body if isinstance(x, ast.FunctionDef)} - set(NAMES)
    assert held == called


def test_full_tiles_run_without_the_predicate() -> None:
    text = kernels("sliding_window", {"n": 64}).text
    forward = text[text.index("def forward(") : text.index("def split_forward(")]
    masked, full = forward.split("# Steps where every pair attends.")
    assert "seen = " in masked
    assert "seen" not in full


def run(*command: str, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "PYTHONPATH")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ahead") / "window"
    run(
        sys.executable, "-m", "attnlang", "compile", "stdlib:sliding_window", "--size", "n=4096",
        "--heads", "2", "--head-dim", "128", "--target", "cuda:90", "--target", "hip:gfx942",
        "--out", str(out), cwd=ROOT,
    )  # fmt: skip
    return out


def test_kernels_for_machines_that_are_not_here(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    entries = manifest["kernels"]
    assert {(x["target"], x["kernel"]) for x in entries} == {
        (target, name) for target in ("cuda:90", "hip:gfx942") for name in NAMES
    }
    for entry in entries:
        assert entry["tensor_cores"] or entry["kernel"] == "merge"
        assert 0 < entry["registers"] <= 512
        assert all((made / f).stat().st_size > 1000 for f in entry["files"])
        assert entry["choice"] not in [d["choice"] for d in entry["dropped"]]
    assert first_without_spills([x for x in entries if x["target"] == "cuda:90"])


def first_without_spills(entries: list[dict[str, Any]]) -> bool:
    """Are they all first choices, spilling nothing? Only the same with fewer registers is dropped."""

    def uncapped(choice: dict[str, Any]) -> dict[str, Any]:
        return {**choice, "maxnreg": None}

    return all(
        x["spills"] == 0 and all(uncapped(d["choice"]) == x["choice"] for d in x["dropped"])
        for x in entries
    )


def spilling(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices that were dropped as they are, not for fewer registers."""
    return [d for d in entry["dropped"] if d["choice"]["maxnreg"] is None]


def test_modules_need_no_attnlang(made: Path, tmp_path: Path) -> None:
    (tmp_path / "attnlang.py").write_text("raise ImportError('not here')")
    code = f"import runpy; m = runpy.run_path({str(made / 'group0.py')!r}); print(m['forward'])"
    assert "JITFunction" in run(sys.executable, "-c", code, cwd=tmp_path)


@chosen_for
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("name", ["causal", "alibi"])
def test_first_choices_do_not_spill(name: str, width: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        sys.executable, "-m", "attnlang", "compile", f"stdlib:{name}", "--size", "n=4096",
        "--heads", "2", "--head-dim", str(width), "--target", "cuda:90", "--out", str(out),
        cwd=ROOT,
    )  # fmt: skip
    entries = json.loads((out / "manifest.json").read_text())["kernels"]
    described = [x for x in NAMES if x != "merge"]
    assert [(x["module"], x["kernel"]) for x in entries] == [
        *(("group0.py", name) for name in NAMES),
        *(("group0.descriptors.py", name) for name in described),
    ]
    if name == "causal" or width == 64:
        assert first_without_spills(entries)
    assert not any(x["spills"] for x in entries)
    # With a score that is edited keys' gradients by descriptors take their second choice.
    assert all(len(spilling(x)) < 2 for x in entries)


def test_a_tensor_read_in_two_precisions_has_two_names() -> None:
    """Floors are taken in double precision, what is left of them in single."""
    pattern = attnlang.parse(
        """pattern p:
    over n
    input at: float[batch, n]
    let way = clamp(k.at - float(q.n), -9.0, 9.0)
    attend where true
        score s + way - float(floor(way))
"""
    )
    problem = pattern.problem({"n": 64}, 1)
    form = form_of(problem, problem.groups[0], Tiles(), frozenset())
    for function in ast.parse(write(pattern.ir, 0, form).text).body:
        precisions: dict[str, set[str]] = {}
        for node in ast.walk(function):
            match node:
                case ast.Assign(
                    targets=[ast.Name(id=name)],
                    value=ast.Call(func=ast.Attribute(attr="to"), args=[ast.Attribute(attr=to)]),
                ) if name.startswith("k_in_at"):
                    precisions.setdefault(name, set()).add(to)
        if isinstance(function, ast.FunctionDef) and function.name in {"forward", "key_gradient"}:
            assert sorted(map(sorted, precisions.values())) == [["float32"], ["float64"]]
