"""Neighbourhoods in two and three dimensions compiled for Hopper and Blackwell: no GPU needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.triton.spills import SIZES

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize(
    ("machine", "how"),
    [("cuda:90", "pointers"), ("cuda:90", "described"), ("cuda:100", "described")],
)
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("name", SIZES)
def test_nothing_spills(machine: str, name: str, width: int, how: str) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "PYTHONPATH")}
    words = [sys.executable, "-m", "tests.triton.spills", name, str(width), machine, how]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert set(made) == {"forward", "split_forward", "query_gradient", "key_gradient"}
    for kernel, of in made.items():
        assert of["matrix"], kernel
        assert of["copies"] == (how == "described"), kernel
        assert not of["spills"], kernel
        if machine == "cuda:90" and kernel != "split_forward":
            assert of["first"], kernel
