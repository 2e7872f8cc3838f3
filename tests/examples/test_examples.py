"""Every example runs, in small, as its reader would run it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK_TRAINING = ("--context", "128", "--window", "16", "--batch", "1", "--sample", "8")


def run(name: str, *words: str) -> str:
    """The standard output of one example; its failure fails the test with what it said."""
    command = [sys.executable, str(EXAMPLES / name), *words]
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pattern_of_ones_own() -> None:
    out = run("write_your_own.py")
    assert "    . # # # # # . .\n    . # # # # # . .\n    . # # # . . . ." in out
    assert float(out.rpartition(":")[2]) < 1e-5


def test_packed_documents_equal_documents_one_by_one() -> None:
    out = run("document_packing.py")
    assert float(out.partition("one by one:")[2].split()[0]) < 1e-5
    assert float(out.partition("of the gradients:")[2].split()[0]) < 1e-4


def test_layers_by_schedule_learn() -> None:
    sizes = ("--layers", "7", "--context", "128", "--window", "16", "--dim", "32")
    out = run("local_global_layers.py", *sizes, "--steps", "12")
    layers = [line.split("<Pattern ")[1] for line in out.splitlines() if "<Pattern " in line]
    assert [name.partition("(")[0] for name in layers] == (
        ["sliding_window"] * 5 + ["causal", "sliding_window"]
    )
    before, after = (
        float(out.partition(f"{word}:")[2].split()[0].rstrip(",")) for word in ("before", "after")
    )
    assert after < before - 0.3


def test_linear_layers_learn_and_write_from_memory() -> None:
    sizes = ("--layers", "4", "--context", "64", "--block", "8", "--topk", "2", "--dim", "32")
    out = run("linear_layers.py", *sizes, "--steps", "25")
    before, after = (
        float(out.partition(f"{word}:")[2].split()[0].rstrip(",")) for word in ("before", "after")
    )
    assert after < before - 0.3
    assert float(out.partition("differ by")[2].split()[0]) < 1e-4
    sums, keys, all_keys = (
        int(re.search(words, out)[1])  # type: ignore[index]
        for words in (r"bytes: (\d+) numbers", r"and (\d+) in keys", r"all layers: (\d+)")
    )
    # Three layers of four heads with 8 x 8 numbers; keys and values of two heads in one of four.
    assert sums == 3 * 4 * 8 * 8
    assert 4 * keys == all_keys == 2 * 2 * 8 * 4 * 128


def test_sharded_heads_see_everything_together() -> None:
    out = run("sharded_heads.py")
    assert "all heads together 100%" in out
    assert float(out.partition("gradients included:")[2].split()[0]) < 1e-5
    assert out.count("####\n") == 8


def gaps(out: str) -> list[float]:
    """The differences that an example prints, each the last word of its line."""
    found = [line.split()[-1] for line in out.splitlines() if "difference from" in line]
    return [float(x) for x in found]


def test_a_stage_of_swin() -> None:
    out = run("swin_stage.py", "--side", "21", "--blocks", "3")
    seen = [int(n) for n in re.findall(r"it has seen (\d+) tokens", out)]
    assert seen == [49, 196, 441]  # a window; the four around its corner; everything
    assert len(gaps(out)) == 2
    assert max(gaps(out)) < 1e-5


def test_a_divided_block() -> None:
    out = run("divided_space_time.py", "--frames", "3", "--sites", "10")
    assert "out [1, 31, 64]" in out
    assert "one frame: out [1, 11, 64]" in out
    assert len(gaps(out)) == 2
    assert max(gaps(out)) < 1e-5


def test_neighbourhoods_of_a_video() -> None:
    words = ("--size", "6,8,10", "--window", "4,5,4", "--stride", "2,2,4")
    out = run("video_neighborhoods.py", *words)
    assert "keys per query    80" in out
    apart = [float(x) for x in re.findall(r"(\S+) from its window by hand", out)]
    assert len(apart) == 3
    assert max(apart) < 1e-5


def test_regions_choose_regions() -> None:
    out = run("biformer_block.py", "--side", "12", "--regions", "3", "--topk", "2")
    assert out.count("#") == 2
    assert "22.2% of all pairs" in out
    assert max(gaps(out)) < 1e-5


def test_native_sparse_attention_in_a_block() -> None:
    out = run("nsa_block.py", "--context", "96", "--topk", "3", "--window", "10")
    assert "gradients for 18 of 18 parameters" in out
    assert [line.count("#") for line in out.splitlines() if "..." in line] == [3, 3]
    assert len(gaps(out)) == 2
    assert max(gaps(out)) < 1e-5


def test_comparison_with_sdpa(tmp_path: Path) -> None:
    words = ("--tokens", "512", "--window", "64", "--heads", "2", "--rounds", "2")
    out = run("compare_sdpa.py", *words, "--out", str(tmp_path))
    assert "SDPA takes" in out
    result = json.loads((tmp_path / "compare_sdpa.json").read_text())
    assert result["setting"]["tokens"] == 512
    assert set(result["forward"]["seconds"]) == {"attnlang", "SDPA"}
    assert result["forward"]["ratio"] > 0


def test_training_writes_its_results(tmp_path: Path) -> None:
    out = run("train_bytes.py", "--steps", "3", *QUICK_TRAINING, "--out", str(tmp_path))
    assert "100%" in out
    assert "it goes on:" in out
    assert {p.name for p in tmp_path.iterdir()} == {"loss.png", "metrics.json", "sample.txt"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["steps"] == 3
    assert metrics["bytes_seen"] == 3 * 128
    assert metrics["held_out"][-1][0] == 3


@pytest.mark.long
def test_the_whole_tour(tmp_path: Path) -> None:
    out = run("demo.py", "--minutes", "0.05", "--quick", "--out", str(tmp_path))
    assert "there is no function `bnad`" in out
    assert "agrees with the reference" in out
    for name in ("local.svg", "local.png", "local/manifest.json", "loss.png", "metrics.json"):
        assert str(tmp_path / name) in out.rpartition("Files:")[2]
