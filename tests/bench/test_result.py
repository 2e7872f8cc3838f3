"""The result: its fields, its table and picture, and the files it is kept in."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from attnlang.bench import constant, files, start
from attnlang.bench.suite import picture, run, table
from attnlang.bench.suite.contender import Contender
from attnlang.bench.suite.measure import Patience
from tests.bench.conftest import absent, tiny_step

ROW = {
    "workload", "claim", "pattern", "sizes", "batch", "heads", "kv_heads", "head_dim", "failed",
    "tokens", "causal", "density", "dense_share", "live_flops", "waste", "layout", "plan_bytes",
    "plan_s", "select_s", "contenders", "bound",
}  # fmt: skip
RECORD = {
    "name", "status", "reason", "no_backward", "seconds", "errors", "forward", "both",
}  # fmt: skip
TIMES = {"median_s", "min_s", "max_s", "rounds", "each_s", "peak_bytes", "tflops", "ratio"}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """The suite on small workloads, FlexAttention's compiler left out."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run.flex, "CONTENDER", Contender("flex", absent))
        steps = [tiny_step(name) for name in ("window", "seer", "lightning")]
        patience = Patience(seconds=0.0, prepare=60.0, fewest=2)
        made = run.run(torch.device("cpu"), "quick", steps, patience=patience)
    return json.loads(json.dumps(made)) | {"circumstances": {"date": "2026-01-02 10:00"}}  # type: ignore[no-any-return]


def test_the_schema(result: dict[str, Any]) -> None:
    assert result["schema"] == "attnlang.bench.suite/1"
    assert (result["device"], result["scale"], result["dtype"]) == ("cpu", "quick", "float32")
    window, seer, lightning = result["rows"]
    for row in result["rows"]:
        assert row.keys() == ROW
        assert row["failed"] == ""
        for record in row["contenders"]:
            assert record.keys() == RECORD
            assert record["status"] in ("measured", "skipped")
            for direction in ("forward", "both"):
                there = record[direction]
                assert (there is not None) == (record["status"] == "measured")
                if there is not None:
                    assert there.keys() == TIMES
                    assert there["rounds"] == len(there["each_s"]) == 2
                    assert there["min_s"] <= there["median_s"] <= there["max_s"]
    names = [r["name"] for r in window["contenders"]]
    assert names == ["attnlang", "attnlang triton", "sdpa", "sdpa + mask", "flex", "flash-attn"]
    # 96 queries see 8 keys each, the first seven fewer.
    assert window["live_flops"] == 4 * 8 * 4 * (96 * 8 - 28)
    assert window["density"] == (96 * 8 - 28) / 96**2
    assert window["causal"] is True
    assert seer["select_s"] > 0
    assert lightning["density"] is None
    assert lightning["live_flops"] == 4 * 8 * 8 * 2 * 96


def test_ratios_are_of_rounds(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        ours = row["contenders"][0]["forward"]
        assert ours["ratio"] == 1.0
        for record in row["contenders"]:
            there = record["forward"]
            if there is not None:
                pairs = zip(there["each_s"], ours["each_s"], strict=True)
                low, high = sorted(a / b for a, b in pairs)
                assert low <= there["ratio"] <= high


def test_the_table_says_everything(result: dict[str, Any]) -> None:
    text = table.table(result)
    for row in result["rows"]:
        assert row["workload"] in text
    assert "flex: skipped, not here (everywhere)" in text
    assert "sdpa + mask: skipped, scaled_dot_product_attention has no attention" in text
    assert "choosing takes" in text
    assert len(table.markdown(result).splitlines()) == 2 + len(result["rows"])


def test_the_picture_has_a_dot_for_each_contender(result: dict[str, Any]) -> None:
    root = ET.fromstring(picture.svg(result))
    circles = [x for x in root.iter() if x.tag.endswith("circle")]
    legend = len(["dense", "mask", "bound"])
    # window and seer: dense, mask and bound; lightning: dense.
    assert len(circles) == legend + 3 + 3 + 1
    width = float(root.attrib["width"])
    assert all(0 < float(c.attrib["cx"]) < width for c in circles)


def test_the_newest_file_counts(result: dict[str, Any], tmp_path: Path) -> None:
    old = result | {"circumstances": {"date": "2025-12-31"}, "scale": "cpu"}
    other = result | {"circumstances": {"date": "2027-01-01"}, "device": "cuda"}
    paths = [files.save(x, tmp_path) for x in (old, result, other)]
    assert [p.name for p in paths] == [
        "suite-cpu-2025-12-31.json", "suite-quick-cpu-2026-01-02.json",
        "suite-quick-cuda-2027-01-01.json",
    ]  # fmt: skip
    assert files.newest("suite", folder=tmp_path) == (paths[1], result)
    assert files.newest("suite", "cuda", tmp_path) == (paths[2], other)
    assert files.newest("plan", folder=tmp_path) is None


def test_constant_speed_is_checked_and_reported() -> None:
    made = constant.run(heads=2, dim=8, rounds=2, shortest=64, longest=200, keep=False)
    assert [row["length"] for row in made["rows"]] == [64, 128]
    assert made["right"]
    assert made["ratio"] >= 1.0
    assert "memory went back" in constant.table(made)
    assert "hoped for: at most 1.10" in constant.table(made)
    assert constant.lengths(8, 64, 1, 6 * 32) == [8, 16, 32]


def test_the_programs_that_start_say_their_seconds() -> None:
    for case in start.CASES:
        if "torch" not in case.name:
            assert start.once(case) > 0
    rows = [{"case": c.name, "target_s": c.target, "median_s": 1.0, "min_s": 1.0, "max_s": 1.0}
            for c in start.CASES]  # fmt: skip
    assert "0.15s" in start.table({"rows": rows})
