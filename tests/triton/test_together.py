"""Query heads that share keys in one tile: whatever differs by head is worked out row by row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.ahead.directory import compile_pattern
from attnlang.backends.triton import attend
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.form import Tiles
from attnlang.backends.triton.tables import kept
from attnlang.backends.triton.together import stand_together, stands_apart
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import check, chosen_for

ROOT = Path(__file__).parents[2]
WINDOW = "causal(n) and band(n, 9)"
BODIES: dict[str, tuple[dict[str, str], str]] = {
    "window": ({}, WINDOW),
    "window and sinks": ({}, "causal(n) and (band(n, 9) or k.n < 3)"),
    "blocks": ({}, "q.n // 8 == k.n // 8"),
    "slopes": ({"slope": "float[head]"}, f"{WINDOW} score s - slope[head] * (q.n - k.n)"),
    "numbers of heads": ({}, f"{WINDOW} score s - 0.1 * float(head * 3 % 4) * (q.n - k.n)"),
    "bias": ({"bias": "float[head, 9]"}, f"{WINDOW} score s + bias[head, q.n - k.n]"),
    "queries": ({"w": "float[head, n]"}, f"{WINDOW} score s * q.w - 0.1 * q.w"),
    "of key heads": ({"w": "float[kv_heads]"}, f"{WINDOW} score s * w[kv_head]"),
    "scale": ({"t": "float[head]"}, f"{WINDOW} scale exp(t[head])"),
    "cap": ({}, f"{WINDOW} softcap 1.5 + 0.5 * float(head)"),
    "sink": ({"drop": "float[head]"}, f"{WINDOW} sink drop[head]"),
    "gain": ({"g": "float[head]"}, f"{WINDOW} gain g[head] * 0.5"),
    "largest": ({"t": "float[head]"}, f"{WINDOW} score s - 0.5 * t[head] * row_max(s * t[head])"),
    "sums": ({}, f"{WINDOW} score s * s + 0.1 * float(head) normalise sum"),
    "few rows have keys": ({}, "k.n < 2 * (q.n - 30) and k.n > q.n - 9 empty full"),
}
ALONE: dict[str, tuple[dict[str, str], str]] = {
    "windows of heads": ({}, "causal(n) and band(n, 4 * (1 + head))"),
    "keys of heads": ({"w": "float[head, n]"}, f"{WINDOW} score s + k.w"),
    "a table of keys": ({"b": "float[head, 99]"}, f"{WINDOW} score s + b[head, k.n]"),
}


def call_of(
    name: str, heads: int = 6, kv_heads: int = 2, n: int = 53, keys: int = 53
) -> AttentionCall:
    declared, body = {**BODIES, **ALONE}[name]
    clauses = body
    for word in ("score", "scale", "softcap", "sink", "gain", "normalise", "empty"):
        clauses = clauses.replace(f" {word} ", f"\n        {word} ")
    inputs = "".join(f"    input {x}: {kind}\n" for x, kind in declared.items())
    text = f"pattern p:\n    over n\n{inputs}    attend where {clauses}\n"
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, n, 16), (kv_heads, keys, 16), (kv_heads, keys, 24))
    q, k, v = (torch.randn(2, *s, generator=generator) for s in shapes)
    sizes = {"head": heads, "kv_heads": kv_heads, "n": keys}
    tensors: dict[str, Any] = {}
    for x, kind in declared.items():
        dims = kind.strip("float[]").split(", ")
        shape = [sizes[d] if d in sizes else int(d) for d in dims]
        tensors[x] = torch.randn(shape, generator=generator)
    return AttentionCall(text, {}, q, k, v, tensors, keys - n)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever heads may stand together they do."""
    monkeypatch.setattr(attend, "stand_together", lambda *of: not stands_apart(*of))


def tiles(launched: list[Any], name: str) -> tuple[int, ...]:
    return next(grid for kernel, _, grid in launched if kernel == name)


@pytest.mark.parametrize("name", BODIES)
def test_equal_to_the_reference(name: str, together: None, launched: list[Any]) -> None:
    check(call_of(name))
    assert tiles(launched, "forward")[1] == tiles(launched, "query_gradient")[1] == 2 * 2


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 1), (4, 1), (8, 1), (8, 2), (5, 1), (7, 7)])
@pytest.mark.parametrize("n", [1, 37, 70])
def test_groups_of_any_size(heads: int, kv_heads: int, n: int, together: None) -> None:
    check(call_of("slopes", heads, kv_heads, n, 70))


@pytest.mark.parametrize("name", ALONE)
def test_what_differs_by_head_and_key_stands_apart(
    name: str, together: None, launched: list[Any]
) -> None:
    check(call_of(name))
    assert tiles(launched, "forward")[1] == tiles(launched, "query_gradient")[1] == 2 * 6


def test_heads_of_one_group_of_key_heads_alone_stand_together(together: None) -> None:
    text = "pattern p:\n    over n\n    heads[:3]:\n        attend where causal(n)\n"
    text += f"    heads[3:]:\n        attend where {WINDOW}\n"
    problem = attnlang.parse(text).problem({"n": 64}, 6, kv_heads=2)
    assert [stands_apart(problem, g) for g in problem.groups] == [False, False]
    problem = attnlang.parse(text).problem({"n": 64}, 8, kv_heads=2)
    assert [stands_apart(problem, g) for g in problem.groups] == [True, True]


def pays(where: str, n: int, heads: int, kv_heads: int, queries: int | None = None) -> bool:
    text = f"pattern p:\n    over n\n    attend where {where}\n"
    sizes = {"q.n": queries or n, "k.n": n}
    problem = attnlang.parse(text).problem(
        sizes, heads, kv_heads=kv_heads, q_offset=n - sizes["q.n"]
    )
    return stand_together(problem, problem.groups[0])


def test_heads_that_differ_at_other_lengths_stand_apart() -> None:
    """Kernels hold the predicate for any length: here a head decides only beyond 224 tokens."""
    where = "q.n == head or k.n // 16 < q.n // 16 + 14"
    pattern = attnlang.parse(f"pattern p:\n    over n\n    attend where {where}\n")
    problem = pattern.problem({"n": 30}, 4, kv_heads=2, head_dim=16)
    assert stands_apart(problem, problem.groups[0])
    assert not stand_together(problem, problem.groups[0])


PLANNED = {
    "boxes": ("near(y, 3) and near(x, 3)", ""),
    "slopes": ("near(y, 3) and near(x, 3)", "score s - abs(q.y - k.y) * pow2(-1 - head)"),
    "learned": ("near(y, 3) and near(x, 3)", "score s + b[head, (q.y - k.y + 1) * 3 + q.x - k.x + 1]"),
    "sinks": ("near(y, 5) and near(x, 5)", "sink z[head]"),
    "permuted": ("abs(q.y - k.y) % 3 == 0 and abs(q.x - k.x) % 2 == 0", ""),
    "runs": ("near(y, 3) and near(x, 3) or q.index == 5 or (q.y + k.x) % 7 == 0", ""),
}  # fmt: skip
GRID = {"y": 13, "x": 11}


def planned(name: str, heads: int, kv_heads: int) -> AttentionCall:
    where, clause = PLANNED[name]
    more = {"b": "float[head, 9]", "z": "float[head]"}
    inputs = "".join(f"    input {x}: {kind}\n" for x, kind in more.items() if f"{x}[" in clause)
    text = f"pattern p:\n    over y, x\n{inputs}    attend where {where}\n"
    text += f"        {clause}\n" if clause else ""
    generator = torch.Generator().manual_seed(0)
    tokens = GRID["y"] * GRID["x"]
    shapes = ((heads, tokens, 16), (kv_heads, tokens, 16), (kv_heads, tokens, 24))
    q, k, v = (torch.randn(2, *s, generator=generator) for s in shapes)
    given = {"b": torch.randn(heads, 9), "z": torch.randn(heads)}
    tensors = {x: t for x, t in given.items() if f"{x}[" in clause}
    return AttentionCall(text, GRID, q, k, v, tensors, 0)


@pytest.mark.parametrize("name", PLANNED)
def test_tiles_of_a_plan_hold_the_queries_of_all_heads_too(name: str, launched: list[Any]) -> None:
    check(planned(name, 4, 2))
    assert tiles(launched, "forward")[1] == tiles(launched, "query_gradient")[1] == 2 * 2


@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 1), (6, 2), (7, 1)])
def test_tiles_of_a_plan_in_parts(heads: int, kv_heads: int, launched: list[Any]) -> None:
    """So many heads that their queries fill several tiles, or numbers that fill none."""
    check(planned("slopes", heads, kv_heads))
    assert tiles(launched, "forward")[1] == 2 * kv_heads


@pytest.mark.parametrize(
    ("name", "heads", "kv_heads", "fill"),
    [
        ("boxes", 4, 2, True),
        ("boxes", 4, 4, False),  # no heads share keys
        ("runs", 6, 2, False),  # 192 rows would take two tiles of 128
        ("runs", 8, 2, True),
    ],
)
def test_heads_stand_together_where_they_fill_tiles_of_a_plan(
    name: str, heads: int, kv_heads: int, fill: bool
) -> None:
    problem = attnlang.parse(planned(name, heads, kv_heads).text).problem(
        GRID, heads, kv_heads=kv_heads, head_dim=16
    )
    (tables,) = kept(problem, torch.device("cpu"))
    assert (tables.together > 1) == fill
    form = form_of(problem, problem.groups[0], tables.tiles(), frozenset())
    assert form.packs == fill


def test_few_queries_of_a_plan_fill_a_tile_together(launched: list[Any]) -> None:
    """Decoding reads keys once for all heads that share them."""
    text = "pattern p:\n    over n\n    attend where causal(n) and (q.n - k.n) % 3 == 0\n"
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 6, 2, 16, generator=generator)
    k, v = (torch.randn(1, 2, 1100, 16, generator=generator) for _ in range(2))
    check(AttentionCall(text, {}, q, k, v, {}, 1098))
    (given,) = (given for kernel, given, _ in launched if kernel == "split_forward")
    assert given["TILE"] == 2
    assert tiles(launched, "split_forward")[1] == 2


def test_narrow_patterns_stand_together_and_long_rows_apart() -> None:
    assert pays("causal(n) and band(n, 128)", 32768, 32, 8)
    assert pays("q.n // 32 == k.n // 32", 4096, 8, 1)
    assert not pays("causal(n)", 32768, 32, 8)
    assert not pays("causal(n) and band(n, 4096)", 32768, 32, 8)
    assert not pays("causal(n) and band(n, 128)", 32768, 32, 32)
    assert not pays("causal(n) and band(n, 20 * (1 + head))", 32768, 32, 8)


def test_few_queries_fill_a_tile_together() -> None:
    assert pays("true", 4096, 8, 1, queries=1)
    assert not pays("true", 4096, 8, 1, queries=256)


def test_the_cost_is_that_of_the_steps_visited() -> None:
    """A tile of 128 rows and a window w visit w + 127 keys apart, w + 31 in fours: in whole steps
    of 64 from the first."""
    for window in (16, 64, 200, 700, 1500):
        apart, four = (-(-(window + x) // 64) for x in (127, 31))
        expected = four <= 0.9 * apart
        assert pays(f"causal(n) and band(n, {window})", 1 << 16, 4, 1) == expected, window


def test_a_text_says_what_it_was_asked_for() -> None:
    problem = attnlang.load("stdlib:causal").problem({"n": 4096}, 8, kv_heads=2)
    group, given = problem.groups[0], (Tiles(), frozenset[str]())
    assert not form_of(problem, group, *given).packs
    assert form_of(problem, group, *given, together=True).packs


def test_directories_have_heads_together_at_other_lengths_too() -> None:
    pattern = attnlang.load("stdlib:sliding_window", window=40)
    problem = pattern.problem({"n": 512}, 2, kv_heads=1, head_dim=16)
    launch = compile_pattern(problem, {"n": 512}, (), "fp32", ()).launch["sliding_window"]
    kernels = launch["groups"][0]["kernels"]
    assert {name for name, x in kernels.items() if x["packed"]} == {
        "forward", "split_forward", "query_gradient"
    }  # fmt: skip
    assert launch["longest"] > 1 << 20


COMPILE = """
from attnlang.backends.triton.ahead import compile_kernel
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.choices import Shape
from attnlang.backends.triton.form import Tiles
from attnlang.backends.triton.module import write
from attnlang.backends.triton.shape import shape_of
from attnlang.backends.triton.target import target
import attnlang

pattern = attnlang.load("stdlib:sliding_window", window=128)
for width in (64, 128):
    problem = pattern.problem({"n": 4096}, 8, kv_heads=2, head_dim=width)
    form = form_of(problem, problem.groups[0], Tiles(), frozenset(), described=True)
    every = write(problem.pattern, 0, form)
    shape = Shape("bf16", width, width, (128, 128))
    for kernel in (every.forward, every.query_gradient):
        assert kernel.packed
        own = shape_of(kernel, shape, None, 4)
        x = compile_kernel(every.text, kernel, target("cuda:90"), own)
        assert x.built.tensor_cores
        assert not x.built.spills
        assert not [d for d in x.dropped if d.choice.maxnreg is None]
        print(x.kernel, x.choice.rows)
"""


@chosen_for
def test_tiles_of_several_heads_compile_for_hopper() -> None:
    """The first choice of each fits, spills nothing and is made of matrix instructions."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, cwd=ROOT, env=env,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["forward", "128", "query_gradient", "64"] * 2
