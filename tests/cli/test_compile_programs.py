"""compile: the directory of a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlang
from tests.cli.conftest import Run

PROGRAM = """
pattern program(block: int = 8):
    over n
    input gate: float[batch, head, n]
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    select chosen[head, n, b] from q, kb where (k.b + 1) * block <= q.n
        top 1
    near = attend where band(n, 5)
    far = attend where chosen[head, q.n, k.n // block] and causal(n) empty zero
    past = attend linear where causal(n)
    return q.gate * near + far + past
"""
LINEAR = "pattern linear:\n    over n\n    attend linear where causal(n)\n        delta 0.5\n"


@pytest.fixture(autouse=True)
def files(run: Run) -> None:
    Path("program.attn").write_text(PROGRAM, encoding="utf-8")
    Path("linear.attn").write_text(LINEAR, encoding="utf-8")


def manifest(where: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(where) / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_every_attention_has_a_plan(run: Run) -> None:
    words = ("program.attn", "--size", "n=64", "--heads", "2", "--verify", "--out", "made")
    done = run("compile", *words)
    assert done.code == 0, done.err
    data = manifest("made")
    assert data["schema"] == "attnlang.manifest.program/1"
    assert [(s["step"], s["kind"]) for s in data["steps"]] == [
        ("kb", "pool"), ("chosen", "selection"), ("near", "attention"), ("far", "attention"),
        ("past", "linear attention"),
    ]  # fmt: skip
    assert data["verified"]["passed"] is True
    assert set(data["verified"]["errors"]) == {"out", "dq", "dk", "dv"}  # no lse: a sum of three
    assert data["steps"][3]["planned_without"] == ["chosen"]
    pattern = attnlang.load("program.attn")
    plan = pattern.steps["near"].plan({"n": 64}, 2)
    assert {k: data["steps"][2]["tiles"][k] for k in plan.tiles} == plan.tiles
    arrays = np.load("made/plan.npz", allow_pickle=False)
    assert arrays["near.group0.heads"].tolist() == [0, 1]
    assert attnlang.load("made/pattern.attn").hash == pattern.hash


def test_a_step_alone(run: Run) -> None:
    done = run("compile", "program.attn:program.near", "--size", "n=64", "--out", "made")
    assert done.code == 0, done.err
    assert manifest("made")["pattern"] == "program.near"
    assert attnlang.load("made/pattern.attn:program.near").hash == manifest("made")["hash"]


def test_attentions_are_compiled_ahead_and_the_rest_is_said(run: Run) -> None:
    words = ("--size", "n=64", "--head-dim", "16", "--target", "cuda:90", "--dtype", "fp16")
    # In a process of its own: here Triton interprets.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "attnlang", "compile", "program.attn", *words, "--out", "made"]
    done = subprocess.run(
        command,
        env={**environment, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = manifest("made")
    ahead = {s["step"]: s["ahead"] for s in data["steps"]}
    assert ahead == {"kb": False, "chosen": False, "near": True, "far": True, "past": True}
    assert {k["step"] for k in data["kernels"]} == {"near", "far", "past"}
    past = [k for k in data["kernels"] if k["step"] == "past"]
    assert [k["kernel"] for k in past] == [
        "accumulate", "scan", "scan", "meet", "meet", "gradients",
    ]  # fmt: skip
    assert all(k["module"] == "linear.py" and k["dtype"] == "float16" for k in past)
    assert {"attention.py", "launch.py", "tensors.py", "linear.py"} <= {*data["files"]}
    first = (Path("made") / "linear.py").read_text(encoding="utf-8").splitlines()
    assert first[0] == f"# program(block=8), hash {data['hash']}"
    assert "#     past = attend linear where causal(n)" in first
    for name, digest in data["sha256"].items():
        assert sha256((Path("made") / name).read_bytes()).hexdigest() == digest
    for name in data["files"]:
        assert (Path("made") / name).stat().st_size > 0
    assert "kb      pool; no kernels: tensor operations" in done.stdout
    assert "past    linear attention; 6 kernels" in done.stdout
    assert "near: cuda:90" in done.stdout
    assert "attention.py runs it" in done.stdout


def test_nothing_to_compile_ahead(run: Run) -> None:
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    words = ("linear.attn", "--size", "n=64", "--head-dim", "512", "--target", "cuda:90")
    done = subprocess.run(
        [sys.executable, "-m", "attnlang", "compile", *words, "--out", "made"],
        env={**env, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "compiling `linear` ahead: the delta rule has kernels for 256 channels" in done.stderr
    assert not Path("made").exists()
