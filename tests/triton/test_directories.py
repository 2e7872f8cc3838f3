"""What a compiled directory holds, and how its kernels and their choices are taken at launch."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from triton.runtime.errors import OutOfResources

from attnlang.compiler.layout.cost import SMALLEST_TILE
from tests.triton.test_attention import interpreted
from tests.triton.test_standalone import (
    CASES,
    GROUPS,
    WINDOW,
    Written,
    compiled,
    drawn,
    found,
    written,
)
from tests.triton.vast import far


@interpreted
def test_tensors_that_cannot_be_described_are_read_by_pointers(tmp_path: Path) -> None:
    case = CASES["descriptors"]
    out, qkv = written(case, tmp_path), drawn(case)
    described, *one = found(case, qkv, out, tmp_path)
    apart = [torch.nn.functional.pad(x, (0, 1))[..., :16] for x in qkv]
    pointers, *other = found(case, apart, out, tmp_path)
    assert described > 0
    assert pointers == 0
    torch.testing.assert_close(other, one, atol=2e-3, rtol=2e-3)


@interpreted
def test_boxes_are_described_where_batch_and_heads_are_one_dimension(tmp_path: Path) -> None:
    case = CASES["boxes by descriptors"]
    out, (q, k, v) = written(case, tmp_path), drawn(case)
    group = json.loads((out / "manifest.json").read_text())["launch"]["cubes"]["groups"][0]
    carved = {name: one.get("carved") for name, one in group["described"].items()}
    assert carved.pop("key_gradient") == ["q", "d_out"]
    assert set(map(tuple, carved.values())) == {("k", "v")}
    both = [torch.cat([x, x.flip(2)]) for x in (q, k, v)]
    evenly, *one = found(case, both, out, tmp_path)
    both[1:] = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in both[1:]]
    apart, *other = found(case, both, out, tmp_path)
    assert evenly > apart > 0  # queries still are
    torch.testing.assert_close(other, one, atol=2e-3, rtol=2e-3)


class Small:
    """A kernel on a device with room for so many rows, by one kilobyte each."""

    def __init__(self, kernel: Any, limit: int, ran: list[int]) -> None:
        self.fn, self.kernel, self.limit, self.ran = kernel.fn, kernel, limit, ran

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def run(**given: Any) -> None:
            if given["ROWS"] > self.limit:
                raise OutOfResources(given["ROWS"] << 10, self.limit << 10, "shared memory")
            self.ran.append(given["ROWS"])
            self.kernel[grid](**given)

        return run


@interpreted
def test_the_first_choice_that_fits_is_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["other lengths"]
    monkeypatch.syspath_prepend(written(case, tmp_path))
    monkeypatch.delitem(sys.modules, "attention", raising=False)
    attention = importlib.import_module("attention")
    launch, load, ran = attention.launch, attention.launch.module, list[int]()

    def attend(limit: int) -> torch.Tensor:
        def small(name: str) -> Any:
            made = load(name)
            return SimpleNamespace(forward=Small(made.forward, limit, ran))

        launch._fitting.clear()
        monkeypatch.setattr(launch, "module", small)
        out: torch.Tensor = attention.attend(*drawn(case), **case.tensors)[0]
        return out

    large = attend(1 << 20)
    torch.testing.assert_close(attend(ran[0] // 2), large)
    assert ran == [ran[0], ran[0] // 2]
    wanted = (
        f"`forward` does not fit cpu: it needs {SMALLEST_TILE << 10} bytes of shared memory of 0"
    )
    with pytest.raises(RuntimeError, match=wanted):
        attend(0)
    sys.modules.pop("attention")


@interpreted
def test_inputs_that_lie_far_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels count their entries in 32 bits, and none are compiled anew for a call."""
    text = """pattern p:
    over n
    input w: float[head, n]
    input b: float[head, 13]
    attend where causal(n)
        score s * q.w - k.w + b[head, q.n]
"""
    case = Written(text, ("n=13",), 13, 13, (3, 1))
    monkeypatch.syspath_prepend(written(case, tmp_path))
    monkeypatch.delitem(sys.modules, "attention", raising=False)
    attention, qkv = importlib.import_module("attention"), drawn(case)
    near = {name: torch.rand(3, 13) for name in "wb"}
    assert attention.attend(*qkv, **near)[0].isfinite().all()
    for name, x in near.items():
        for dimension in (0, 1):
            wanted = f"input `{name}` must have its last entry within"
            with pytest.raises(ValueError, match=wanted):
                attention.attend(*qkv, **{**near, name: far(x, dimension)})
    sys.modules.pop("attention")


def test_the_manifest_says_what_there_is(tmp_path: Path) -> None:
    out = compiled(GROUPS, ("--size", "n=64"), 2, tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest["files"]) == sorted(x.name for x in out.iterdir())
    launch = manifest["launch"]["groups"]
    assert [x["heads"] for x in launch["groups"]] == [[0, 1], [1, 2]]
    assert launch["dtype"] == "float32"
    assert launch["longest"] >= 1 << 20
    compiled_ones = {(x["module"], x["kernel"]) for x in manifest["kernels"]}
    launched = {
        (one["module"], kernel)
        for group in launch["groups"]
        for way in ("kernels", "described")
        for kernel, one in group[way].items()
    }
    assert launched == compiled_ones
    # Float32 has no matrix instructions to gain by descriptors.
    assert not any(group["described"] for group in launch["groups"])


def test_described_kernels_copy_tiles_in_bulk(tmp_path: Path) -> None:
    """Compiled for Hopper; a machine before it has kernels that read by pointers alone."""
    options = ("--size", "n=64", "--target", "cuda:80", "--dtype", "bf16")
    out = compiled(WINDOW, options, 2, tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    ways = manifest["launch"]["window"]["groups"][0]
    assert set(ways["described"]) == {"forward", "split_forward", "query_gradient", "key_gradient"}
    for kernel in manifest["kernels"]:
        described = kernel["module"] == "group0.descriptors.py"
        assert bool(kernel["described"]) == described
        assert kernel["target"] == "cuda:90" or not described
        (ptx,) = (x for x in kernel["files"] if x.endswith(".ptx"))
        assert ("cp.async.bulk.tensor" in (out / ptx).read_text()) == described
