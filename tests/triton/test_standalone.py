"""A compiled directory run where attnlang cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.ahead.directory import compile_pattern
from tests.triton.test_attention import interpreted

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

described = []
for name in ("descriptor", "grid_descriptor"):
    make = getattr(attention.launch, name)
    told = lambda x, *tile, make=make: described.append(tile) or make(x, *tile)
    setattr(attention.launch, name, told)
call = torch.load(sys.argv[2])
leaves = [x.requires_grad_() for x in (call["q"], call["k"], call["v"])]
more = dict(call["more"])
leaves += [x.requires_grad_() for x in more.values() if x.is_floating_point()]
found = []
state = None
for cut in call["cuts"]:
    q, k, v = (x[:, :, cut[0] : cut[1]] for x in leaves[:3]) if call["states"] else leaves[:3]
    own = {n: x[:, cut[0] : cut[1]] if n in call["by_token"] else x for n, x in more.items()}
    states = {"state": state, "return_state": True} if call["states"] else {}
    out, state = attention.attend(q, k, v, q_offset=cut[2], **own, **states)
    found.append(out)
out, lse = torch.cat(found, 2), None if call["states"] else state
weights = torch.linspace(-1, 1, out.numel()).view_as(out)
loss = (out * weights).sum()
if lse is not None:
    loss = loss + torch.where(lse.isinf(), 0.0, lse).sum()
grads = torch.autograd.grad(loss, leaves)
lse = None if lse is None else lse.detach()
torch.save([len(described), out.detach(), lse, *grads], sys.argv[3])
assert "attnlang" not in sys.modules
"""


@dataclass(frozen=True)
class Written:
    """A pattern, how it is compiled, and tensors that it is then called with.

    cuts: of the tokens, with the state handed on from one call to the next. dtype: of q, k and v.
    """

    text: str
    options: tuple[str, ...]
    queries: int
    keys: int
    heads: tuple[int, int]
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    sizes: dict[str, int] | None = None
    cuts: tuple[int, ...] = ()
    dtype: str = "fp32"


DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
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
    input depth: float[batch, n]
    input slope: float[head] optional
    input left_out: bool[batch, n] optional
    attend where causal(n) and q.doc == k.doc and (q.n - k.n) % 3 == 0 and not k.left_out
        empty zero
        score s + bias[head, min(q.n - k.n, 7)] - q.depth * k.depth + slope[head] * k.depth
"""
WEIGHTS = """pattern weights:
    over n
    input by: float[8]
    heads[:1]:
        attend where causal(n)
            score exp(s - row_max(s)) * (1.0 + 0.5 * erf(s))
            normalise sum
    heads[1:]:
        attend where causal(n)
            score s + 0.1 * row_max(s - 0.2 * row_max(abs(s)))
            gain by[k.n % 8]
"""
NEAR = """pattern near:
    over y, x
    attend where abs(q.y - k.y) <= 2 and abs(q.x - k.x) <= 1
"""
CUBES = """pattern cubes:
    over t, y, x
    attend where near(t, 2) and near(y, 4) and near(x, 4)
"""
CROSSED = """pattern crossed:
    over y, x
    input bias: float[head, 12]
    input sinks: float[head]
    attend where (same(y) if head % 3 == 0 else same(x))
        score s + bias[head, abs(q.x - k.x) + abs(q.y - k.y)]
        sink sinks[head]
"""
GROUPS = """pattern groups:
    over n
    heads[0:1]:
        attend where causal(n)
    heads[1:2]:
        attend where abs(q.n - k.n) < 9
"""
EMPTY = """pattern rows:
    over n
    input bias: float[head]
    heads[:1]:
        attend where k.n < q.n - 3
            score s * 0.5 + bias[head] * float(k.n)
            empty RULE
    heads[1:]:
        attend where causal(n)
"""
PROGRAM = """pattern program(block: int = 8):
    over n
    input gate: float[batch, n, head]
    input w: float[head, 16, 16]
    input wide: float[kv_heads, 16, 16]
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    pool vb[b] = max(v)
    turned = rotate(group_mean(project(q, wide)), 0.1 * q.n * exp(-1.0 * channel))
    select chosen[kv_head, n, b] from q, kb where (k.b + 1) * block <= q.n
        top 2
        force k.b == q.n // block
        normalise softmax
    coarse = attend q, kb, vb where (k.b + 1) * block <= q.n empty zero
    near = attend turned, k, v where band(n, 5)
    far = attend where chosen[kv_head, q.n, k.n // block] and causal(n) empty zero
        score s + k.gate
    past = attend linear where causal(n)
        decay -exp2(-3.0 - float(head))
    both = merge(near, far)
    return q.gate * coarse + 0.5 * both - project(past, w) / float(q.n + 1)
"""
REPEATED = """pattern repeated(levels: int = 2):
    over n
    part b = blocks(n, 4)
    pool kb[b] = mean(k)
    sum@0 = attend where band(n, 5)
    for level in range(1, levels + 1):
        select found[head, n, b] from q, kb where k.b < q.n // 4
            top 2 * level
            search centres
        size = count(found)
        far = attend where found[head, q.n, k.n // 4] and causal(n) empty zero
        sum = sum@(level - 1) + far * float(q.size) / float(level + 1)
    return sum@levels
"""
GATED = """pattern gated:
    over n
    input a: float[batch, n, head] nonpositive
    input beta: float[batch, n, head]
    keys = normalize(k)
    attend linear q, keys, v where causal(n)
        decay k.a
        delta k.beta
"""
RETENTION = """pattern retention:
    over n
    qr = rotate(q, 0.1 * q.n)
    kr = rotate(k, 0.1 * k.n)
    attend linear qr, kr, v where causal(n)
        scale 1.0
        decay -exp2(-2.0 - float(head))
"""
ONE = ("--size", "n=64", "--kv-heads", "1")
CASES = {
    "other lengths": Written(WINDOW, ONE, 90, 90, (2, 1), {"sinks": torch.tensor([0.3, -0.2])}),
    "descriptors": Written(
        WINDOW, ONE, 90, 90, (2, 1), {"sinks": torch.tensor([0.3, -0.2])}, dtype="fp16"
    ),
    "heads together": Written(
        WINDOW, ("--size", "n=512", "--kv-heads", "1"), 70, 70, (2, 1),
        {"sinks": torch.tensor([0.3, -0.2])},
    ),
    "decoding": Written(
        WINDOW.replace("40", "900"), ONE, 3, 520, (2, 1), {"sinks": torch.tensor([0.3, -0.2])}
    ),
    "tables": Written(
        DOCUMENTS, ("--size", "n=50"), 50, 50, (2, 2),
        {
            "doc": torch.arange(50)[None] // 17, "bias": torch.linspace(-1, 1, 16).view(2, 8),
            "depth": torch.linspace(0, 1, 50)[None],
        },
    ),
    "weights": Written(WEIGHTS, ONE, 70, 70, (2, 1), {"by": torch.linspace(-1, 1, 8)}),
    "weights when decoding": Written(
        WEIGHTS, ONE, 3, 520, (2, 1), {"by": torch.linspace(-1, 1, 8)}
    ),
    "optional inputs": Written(
        DOCUMENTS, ("--size", "n=50"), 50, 50, (2, 2),
        {
            "doc": torch.arange(50)[None] // 17, "bias": torch.linspace(-1, 1, 16).view(2, 8),
            "depth": torch.linspace(0, 1, 50)[None], "slope": torch.tensor([0.5, -0.5]),
            "left_out": torch.arange(50)[None] % 5 == 1,
        },
    ),
    "boxes": Written(
        NEAR, ("--size", "y=9", "--size", "x=7"), 63, 63, (2, 2), {}, {"y": 9, "x": 7}
    ),
    "boxes by descriptors": Written(
        CUBES, ("--size", "t=2", "--size", "y=8", "--size", "x=16"), 256, 256, (2, 2), {},
        {"t": 2, "y": 8, "x": 16}, dtype="fp16",
    ),
    "heads apart": Written(
        CROSSED, ("--size", "y=9", "--size", "x=7"), 63, 63, (4, 2),
        {"bias": torch.linspace(-1, 1, 48).view(4, 12), "sinks": torch.tensor([0.3, -0.2, 0, 1.0])},
        {"y": 9, "x": 7},
    ),
    "a union in branches": Written(
        CROSSED.replace("(same(y) if head % 3 == 0 else same(x))", "same(y) or same(x)"),
        ("--size", "y=9", "--size", "x=7"), 63, 63, (4, 2),
        {"bias": torch.linspace(-1, 1, 48).view(4, 12), "sinks": torch.tensor([0.3, -0.2, 0, 1.0])},
        {"y": 9, "x": 7},
    ),
    "empty self": Written(
        EMPTY.replace("RULE", "self"), ONE, 20, 20, (2, 1), {"bias": torch.tensor([0.1, 0.2])}
    ),
    "empty full": Written(
        EMPTY.replace("RULE", "full"), ONE, 20, 20, (2, 1), {"bias": torch.tensor([0.1, 0.2])}
    ),
    "empty passthrough": Written(
        EMPTY.replace("RULE", "passthrough"), ONE, 20, 20, (2, 1),
        {"bias": torch.tensor([0.1, 0.2])},
    ),
    "program": Written(
        PROGRAM, ONE, 64, 64, (2, 1),
        {
            "gate": torch.linspace(-1, 1, 128).view(1, 64, 2),
            "w": torch.linspace(-1, 1, 512).view(2, 16, 16),
            "wide": torch.linspace(-1, 1, 256).view(1, 16, 16),
        },
    ),
    "repeated": Written(REPEATED, ONE, 64, 64, (2, 1)),
    "delta rule": Written(
        GATED, ONE, 80, 80, (2, 1),
        {
            "a": -torch.linspace(0, 1, 160).view(1, 80, 2),
            "beta": torch.linspace(0, 1, 160).view(1, 80, 2),
        },
        cuts=(70, 79, 80),
    ),
    "retention": Written(RETENTION, ONE, 70, 70, (2, 1), cuts=(66, 70)),
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


def written(case: Written, folder: Path) -> Path:
    """The directory without machine code, which its launcher does not need."""
    pattern, (heads, kv_heads) = attnlang.parse(case.text), case.heads
    named = (word.partition("=") for word in case.options if "=" in word)
    sizes = {name: int(n) for name, _, n in named}
    bind = pattern.problem if pattern.ir.program is None else pattern.bound
    problem = bind(sizes, heads, kv_heads=kv_heads, head_dim=16)
    made = compile_pattern(problem, sizes, (), case.dtype, ())
    (folder / "out").mkdir()
    for name, content in made.files.items():
        (folder / "out" / name).write_bytes(content)
    manifest = {"kernels": made.kernels, "launch": made.launch}
    (folder / "out" / "manifest.json").write_text(json.dumps(manifest))
    return folder / "out"


def found(case: Written, qkv: list[torch.Tensor], out: Path, folder: Path) -> list[Any]:
    """How many tensors were described; output, lse and gradients of q, k, v and the float inputs;
    in a process of its own."""
    ends = (0, *case.cuts) if case.cuts else (0, case.queries)
    offset = case.keys - case.queries
    call = {
        "q": qkv[0], "k": qkv[1], "v": qkv[2], "more": case.tensors, "states": bool(case.cuts),
        "cuts": [(a, b, offset + a) for a, b in pairwise(ends)],
        "by_token": [n for n, x in case.tensors.items() if x.dim() > 2],
    }  # fmt: skip
    torch.save(call, folder / "call.pt")
    (folder / "run.py").write_text(RUN)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "run.py", str(out), "call.pt", "found.pt"],
        capture_output=True, text=True, cwd=folder, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made: list[Any] = torch.load(folder / "found.pt")
    return made


def drawn(case: Written) -> list[torch.Tensor]:
    """q, k and v."""
    generator = torch.Generator().manual_seed(0)
    heads, kv_heads = case.heads
    counts = ((heads, case.queries), (kv_heads, case.keys), (kv_heads, case.keys))
    every = (torch.randn(1, *n, 16, generator=generator) for n in counts)
    return [x.to(DTYPES[case.dtype]) for x in every]


@interpreted
@pytest.mark.parametrize("name", CASES)
def test_the_directory_runs_by_itself(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    out = written(case, tmp_path)
    qkv = drawn(case)
    described, *made = found(case, qkv, out, tmp_path)
    assert bool(described) == (case.dtype == "fp16")

    q, k, v = (x.double().requires_grad_() for x in qkv)
    given = {n: x.double() if x.is_floating_point() else x for n, x in case.tensors.items()}
    leaves = [q, k, v, *(x.requires_grad_() for x in given.values() if x.is_floating_point())]
    op = attnlang.parse(case.text).compile("reference")
    offset = case.keys - case.queries
    with_lse = made[1] is not None
    result = op(q, k, v, case.sizes, q_offset=offset, return_lse=with_lse, **given)
    exact, lse = result if with_lse else (result, None)
    loss = exact * torch.linspace(-1, 1, exact.numel(), dtype=torch.float64).view_as(exact)
    total = loss.sum() if lse is None else loss.sum() + torch.where(lse.isinf(), 0.0, lse).sum()
    grads = torch.autograd.grad(total, leaves)
    # Probabilities and slopes of scores are rounded to q's dtype between two products.
    atol, rtol = (2e-4, 1e-5) if case.dtype == "fp32" else (1e-2, 1e-2)
    for a, b in zip((exact, lse, *grads), made, strict=True):
        if a is not None:
            torch.testing.assert_close(b.double().view_as(a), a, atol=atol, rtol=rtol)


def test_what_a_directory_cannot_run_is_said(tmp_path: Path) -> None:
    """At these lengths the pooled keys have no tokens."""
    text = """pattern p:
    over n
    part w = windows(n, 128, stride=64)
    pool kw[w] = mean(k)
    pool vw[w] = mean(v)
    far = attend q, kw, vw where true empty zero
    near = attend where band(n, 4)
    return far + near
"""
    out = compiled(text, ("--size", "n=64"), 2, tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    assert "no tokens" in manifest["launch"]["refused"]
    assert {x["step"] for x in manifest["kernels"]} == {"near"}
    assert not (out / "attention.py").exists()
