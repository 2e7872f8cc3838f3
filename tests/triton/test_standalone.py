"""A compiled directory run where attnlang cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import attnlang

ROOT = Path(__file__).parents[2]
RUN = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "attnlang":
            raise ImportError("attnlang is not installed")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import torch
import attention

call = torch.load(sys.argv[2])
leaves = [call[n].requires_grad_() for n in ("q", "k", "v")]
more = dict(call["more"])
if "sink" in more:
    leaves.append(more["sink"].requires_grad_())
out, lse = attention.attend(*leaves[:3], q_offset=call["q_offset"], **more)
weights = torch.linspace(-1, 1, out.numel()).view_as(out)
grads = torch.autograd.grad((out * weights).sum() + lse.sum(), leaves)
torch.save([out.detach(), lse.detach(), *grads], sys.argv[3])
assert "attnlang" not in sys.modules
"""


@dataclass(frozen=True)
class Written:
    """A pattern, how it is compiled, and tensors that it is then called with. spacing: of tokens."""

    text: str
    options: tuple[str, ...]
    queries: int
    keys: int
    heads: tuple[int, int]
    tensors: dict[str, torch.Tensor]
    sink: torch.Tensor | None = None
    spacing: int = 16


WINDOW = """pattern window:
    over n
    input sinks: float[head]
    attend where causal(n) and band(n, 40)
        score s - 0.1 * (1 + head) * (q.n - k.n)
        sink sinks[head]
"""
DOCUMENTS = """pattern documents:
    over n
    input doc: int[batch, n]
    input bias: float[head, 8]
    attend where causal(n) and q.doc == k.doc and (q.n - k.n) % 3 == 0
        score s + bias[head, min(q.n - k.n, 7)]
"""
NEAR = """pattern near:
    over y, x
    attend where abs(q.y - k.y) <= 2 and abs(q.x - k.x) <= 1
"""
GROUPS = """pattern groups:
    over n
    heads[0:1]:
        attend where causal(n)
    heads[1:2]:
        attend where abs(q.n - k.n) < 9
"""
SINKS = torch.tensor([0.3, -0.2])
ONE = ("--size", "n=64", "--kv-heads", "1")
CASES = {
    "other lengths": Written(WINDOW, ONE, 90, 90, (2, 1), {"sinks": SINKS}, SINKS),
    "not aligned": Written(WINDOW, ONE, 64, 64, (2, 1), {"sinks": SINKS}, SINKS, 17),
    "decoding": Written(
        WINDOW.replace("40", "900"), ONE, 3, 520, (2, 1), {"sinks": SINKS}, SINKS
    ),
    "tables": Written(
        DOCUMENTS, ("--size", "n=50"), 50, 50, (2, 2),
        {"doc": torch.arange(50)[None] // 17, "bias": torch.randn(2, 8)},
    ),
    "boxes": Written(NEAR, ("--size", "y=9", "--size", "x=7"), 63, 63, (2, 2), {}),
}  # fmt: skip


def compiled(text: str, options: tuple[str, ...], heads: int, folder: Path) -> Path:
    (folder / "p.attn").write_text(text)
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "PYTHONPATH")}
    done = subprocess.run(
        [
            sys.executable, "-m", "attnlang", "compile", str(folder / "p.attn"), "--heads",
            str(heads), "--head-dim", "16", "--dtype", "fp32", "--target", "cuda:90", "--out",
            str(folder / "out"), *options,
        ],
        capture_output=True, text=True, cwd=ROOT, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs under the interpreter")
@pytest.mark.parametrize("name", CASES)
def test_the_directory_runs_by_itself(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    heads, kv_heads = case.heads
    out = compiled(case.text, case.options, heads, tmp_path)
    generator = torch.Generator().manual_seed(0)
    counts = ((heads, case.queries), (kv_heads, case.keys), (kv_heads, case.keys))
    q, k, v = (torch.randn(1, *n, case.spacing, generator=generator)[..., :16] for n in counts)
    offset = case.keys - case.queries
    own = {n: x for n, x in case.tensors.items() if case.sink is None}
    if case.sink is not None:
        own["sink"] = case.sink[:, None]
    torch.save({"q": q, "k": k, "v": v, "more": own, "q_offset": offset}, tmp_path / "call.pt")
    (tmp_path / "run.py").write_text(RUN)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "run.py", str(out), "call.pt", "found.pt"],
        capture_output=True, text=True, cwd=tmp_path, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt")

    q, k, v = (x.double().requires_grad_() for x in (q, k, v))
    given = {n: x.double() if x.is_floating_point() else x for n, x in case.tensors.items()}
    leaves = [q, k, v]
    if case.sink is not None:
        leaves.append(given["sinks"].requires_grad_())
    op = attnlang.parse(case.text).compile("reference")
    sizes = {"y": 9, "x": 7} if name == "boxes" else None
    exact, lse = op(q, k, v, sizes, q_offset=offset, return_lse=True, **given)
    weights = torch.linspace(-1, 1, exact.numel(), dtype=torch.float64).view_as(exact)
    grads = torch.autograd.grad((exact * weights).sum() + lse.sum(), leaves)
    for a, b in zip((exact, lse, *grads), found, strict=True):
        torch.testing.assert_close(b.double().view_as(a), a, atol=2e-4, rtol=1e-5)


def test_the_manifest_says_what_there_is(tmp_path: Path) -> None:
    out = compiled(GROUPS, ("--size", "n=64"), 2, tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest["files"]) == sorted(x.name for x in out.iterdir())
    launch = manifest["launch"]
    assert [x["heads"] for x in launch["groups"]] == [[0, 1], [1, 2]]
    assert launch["dtype"] == "float32"
    assert launch["longest"] >= 1 << 20
    for group in launch["groups"]:
        for one in (group, group["described"]):
            of_module = {x["kernel"] for x in manifest["kernels"] if x["module"] == one["module"]}
            assert set(one["kernels"]) == of_module
        assert "q" in group["described"]["kernels"]["forward"]["described"]


def test_what_the_launcher_cannot_run_is_said(tmp_path: Path) -> None:
    text = "pattern p:\n    over n\n    attend where k.n < q.n\n        empty full\n"
    out = compiled(text, ("--size", "n=64"), 2, tmp_path)
    assert "refused" in json.loads((out / "manifest.json").read_text())["launch"]
    assert not (out / "attention.py").exists()
