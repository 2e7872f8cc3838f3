"""What kernels read and write is theirs: no byte outside their tensors, none that nobody has
written, none that another program of the launch writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from tests.triton import wrong
from tests.triton.memory_calls import CALLS
from tests.triton.memory_run import digest, result
from tests.triton.watched import Edge, Shared, Unwritten, backwards, strangers

ROOT = Path(__file__).parents[2]
EDGES = get_args(Edge)

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="watches Triton's interpreter"
)


@cache
def plain(name: str) -> str:
    """What a call gives from memory that holds zeros before anybody writes it. Meanwhile no program
    touches what another writes."""
    with Unwritten(zeros=True), strangers() as ran:
        found = result(name)
    assert ran
    assert not any(x.isnan().any() for x in found)
    return digest(found)


def fenced(edge: Edge, *names: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.triton.memory_run", edge, *names]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)


def check_fenced(edge: Edge, *names: str) -> None:
    done = fenced(edge, *names)
    assert done.returncode == 0, done.stderr[-4000:]
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    assert found == {name: plain(name) for name in names}


@pytest.mark.parametrize("edge", EDGES)
def test_kernels_keep_to_their_memory(edge: Edge) -> None:
    """``last``: behind the last byte of each tensor is memory that kills, and what torch makes
    without writing it holds NaN. ``first``: such memory is before the first byte, and programs run
    from the last to the first. Neither changes a bit."""
    check_fenced(edge, *CALLS)


@pytest.mark.long
@pytest.mark.parametrize("edge", EDGES)
def test_standard_patterns_keep_to_their_memory(edge: Edge) -> None:
    from tests.triton.memory_standards import STANDARDS

    check_fenced(edge, *STANDARDS)


@pytest.mark.parametrize("way", ["reads behind", "writes before"])
def test_fences_kill(way: str) -> None:
    """And tell which call and which kernel it was."""
    edge: Edge = "last" if way.endswith("behind") else "first"
    done = fenced(edge, "nothing", way)
    assert done.returncode == -signal.SIGSEGV
    assert f"{way}: copy\nFatal Python error" in done.stderr
    assert done.stdout == f"nothing\t{plain('nothing')}\n"


def test_what_is_not_written_shows() -> None:
    way = "reads what nobody has written"
    with Unwritten() as memory:
        found = digest(result(way))
    assert memory.made == 1
    assert found != plain(way)


@pytest.mark.parametrize("way", [x for x in wrong.WAYS if "another" in x])
def test_programs_that_meet_show(way: str) -> None:
    with pytest.raises(Shared, match="two programs of `copy`"), strangers():
        result(way)
    with backwards():
        turned = result(way)
    assert digest(turned) != digest(result(way))
